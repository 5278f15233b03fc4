"""The experiment of the fault campaign: a target that tells what it does, and once does harm.

Each evaluation appends ``start INDEX WORKER`` and ``end INDEX WORKER RESULT`` to ``calls.txt``, and
each line is on disk (fsync) before it goes on. A file ``fault-INDEX`` beside it names the harm that
evaluation is to do; it is taken away first, so that it is done once.
"""

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path

from phs_mpi import Bayesian, Experiment, Random, current

SETTING = json.loads(Path("setting.json").read_text())


def note(text: str) -> None:
    descriptor = os.open("calls.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (text + "\n").encode())
    os.fsync(descriptor)
    os.close(descriptor)


def raises():
    raise RuntimeError("harm")


def hangs():
    while True:
        time.sleep(3600)


def holds_the_lock():
    # A C function that keeps Python's global lock; 3 s are longer than the limit, if there is one.
    ctypes.PyDLL(None).usleep(3_000_000)


def prints():
    while True:
        print("x" * 1000)


HARM = {
    "raises": raises,
    "sys.exit": lambda: sys.exit(3),
    "os._exit": lambda: os._exit(3),
    "segfaults": lambda: ctypes.string_at(0),
    "aborts": lambda: os.kill(os.getpid(), signal.SIGABRT),
    "hangs": hangs,
    "holds the lock": holds_the_lock,
    "prints": prints,
}


def target(x):
    now = current()
    note(f"start {now.index} {now.worker}")
    try:
        os.rename(f"fault-{now.index}", "fault-taken")
    except FileNotFoundError:
        pass
    else:
        HARM[Path("fault-taken").read_text()]()
    time.sleep(SETTING["seconds"])
    if SETTING["talks"]:
        print("evaluated", now.index)
    result = (x - 1) ** 2
    note(f"end {now.index} {now.worker} {result.hex()}")
    return result


experiment = Experiment(target, {"x": float}, seed=SETTING["seed"], output_limit=100_000)
experiment.add(SETTING["drawn"], x=Random(-5, 5))
if SETTING["searched"]:
    experiment.add(SETTING["searched"], x=Bayesian(-5, 5))
