"""Evaluations in processes of their own: whatever kills them costs one evaluation."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from phs_mpi.log import Status
from phs_mpi.store import read

BACKENDS = {
    "serial": (None, ("--backend", "serial")),
    "mpi": (3, ()),
    "processes": (None, ("--backend", "processes", "--workers", "2")),
    "dask": (None, ("--backend", "dask", "--scheduler", "ADDRESS")),
}

DEADLY = """
import ctypes, os, signal, subprocess, sys, time
import phs_mpi
from phs_mpi import Bayesian, Experiment, Grid

def orphan():
    # A program in a session of its own, as a simulation started by a wrapper may be.
    code = "import sys, time; open(sys.argv[1], 'w').close(); time.sleep(600)"
    sleeper = subprocess.Popen([sys.executable, "-c", code, "orphan"], start_new_session=True)
    with open("orphan.pid", "w") as file:
        file.write(str(sleeper.pid))
    time.sleep(600)

def fork():
    # The copy holds all that was open, the connection to the worker too.
    if os.fork() == 0:
        time.sleep(600)
    os.kill(os.getpid(), signal.SIGKILL)

def hang_up():
    os.closerange(3, 1000)
    time.sleep(600)

ENDS = {
    "raises": lambda: 1 / 0,
    "exits": lambda: os._exit(3),
    "leaves": lambda: sys.exit(4),
    "segfaults": lambda: ctypes.string_at(0),
    "is killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "aborts": lambda: os.abort(),
    "hangs": lambda: time.sleep(600),
    "holds the lock": lambda: ctypes.PyDLL(None).sleep(600),
    "spins": lambda: any(iter(int, 1)),
    "eats": lambda: (bytearray(250 << 20), time.sleep(600)),
    "starts": orphan,
    "forks": fork,
    "hangs up": hang_up,
}

def target(how, i):
    print("this is", how, flush=True)
    if how in ENDS:
        ENDS[how]()
    assert phs_mpi.current().index == i
    return i

experiment = Experiment(target, {"how": str, "i": int}, timeout=1.5, memory_limit="200 MiB")
for i, how in enumerate([*ENDS, *("works", "works")]):
    experiment.add(how=how, i=i)
experiment.add(3, how="works", i=Bayesian(0, 10**6))
"""

#: What is said of each, and its status.
SAID = {
    "raises": "ZeroDivisionError: division by zero",
    "exits": "ended its process with exit status 3",
    "leaves": "the target called sys.exit(4)",
    "segfaults": "was killed by SIGSEGV (segmentation fault)",
    "is killed": "was killed by SIGKILL",
    "aborts": "was killed by SIGABRT",
    "hangs": "took longer than 1.5 s (timeout)",
    "holds the lock": "took longer than 1.5 s (timeout)",
    "spins": "took longer than 1.5 s (timeout)",
    "eats": "used more than 200 MiB of memory (memory_limit)",
    "starts": "took longer than 1.5 s (timeout)",
    "forks": "was killed by SIGKILL",
    "hangs up": "lost its connection to the worker",
}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(condition, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    "backend",
    [b if b == "mpi" else pytest.param(b, marks=pytest.mark.slow) for b in BACKENDS],
)
def test_whatever_an_evaluation_does_is_recorded(backend, launch, request):
    ranks, options = BACKENDS[backend]
    if backend == "dask":
        address = request.getfixturevalue("dask_cluster").address
        options = [address if o == "ADDRESS" else o for o in options]
    text = DEADLY.replace("assert phs_mpi.current().index == i", "i = min(i, 99)")
    launch.write("experiment.py", text)
    done = launch.phs(ranks, "experiment.py", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    snapshot = read(launch.folder / "experiment.h5")
    assert snapshot.complete
    for index, (how, words) in enumerate(SAID.items()):
        assert words in snapshot.error(index), how
        status = Status.TIMED_OUT if "timeout" in words else Status.FAILED
        assert snapshot.status[index] == status, how
        # What it had printed by then is kept.
        printed = launch.folder / "experiment.evaluations" / f"{index:06d}" / "stdout.txt"
        assert printed.read_text() == f"this is {how}\n"
    assert (snapshot.status[len(SAID) :] == Status.DONE).all()
    assert np.isfinite(snapshot.columns["result"][len(SAID) :]).all()
    orphan = int((launch.folder / "orphan.pid").read_text())
    wait_until(lambda: not alive(orphan))


NOTED = """
import os, time
from phs_mpi import Experiment, Grid

def target(i):
    with open("pids.txt", "a") as file:
        file.write(f"{os.getpid()} {os.getppid()}\\n")
    time.sleep(PAUSE)
    return i

experiment = Experiment(target, {"i": int})
experiment.add(i=Grid(list(range(12))))
"""


def pids(folder: Path) -> list[list[int]]:
    path = folder / "pids.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [[int(pid) for pid in line.split()] for line in lines]


def test_processes_are_kept_warm_and_leave_at_the_end(launch):
    launch.write("experiment.py", NOTED.replace("PAUSE", "0.01"))
    done = launch.phs(3, "experiment.py", "--isolate")
    assert done.returncode == 0, done.stderr
    seen = pids(launch.folder)
    assert len(seen) == 12
    assert len({pid for pid, _ in seen}) == len({parent for _, parent in seen}) == 2
    wait_until(lambda: not any(alive(pid) for pid, _ in seen))
    assert not list(launch.folder.glob("experiment.evaluations"))  # no spool is left


def test_they_do_not_outlive_a_worker_that_is_killed(launch):
    launch.write("experiment.py", NOTED.replace("PAUSE", "600"))
    process = launch.start(3, "-m", "phs_mpi", "experiment.py", "--isolate")
    wait_until(lambda: len(pids(launch.folder)) == 2)
    seen = pids(launch.folder)
    os.kill(seen[0][1], signal.SIGKILL)  # one worker: its launcher ends the others
    process.communicate(timeout=60)
    wait_until(lambda: not any(alive(pid) for line in seen for pid in line))


def test_one_that_is_killed_from_outside_while_idle_is_replaced(tmp_path, monkeypatch):
    from phs_mpi import Experiment
    from phs_mpi.backends.isolation import IsolatedEvaluator
    from phs_mpi.log import Proposal, Source

    monkeypatch.chdir(tmp_path)
    experiment = Experiment(pid_of, {"x": float}, isolate=True)
    experiment.add(x=1.0)
    evaluate = IsolatedEvaluator(
        experiment, experiment.table(), tmp_path / "r.h5", tmp_path / "folders", 1, "here"
    )
    try:
        first = evaluate(Proposal(0, {"x": 1.0}, Source.EXPLICIT)).result
        assert first not in (0.0, os.getpid())
        assert evaluate(Proposal(0, {"x": 1.0}, Source.EXPLICIT)).result == first
        os.kill(int(first), signal.SIGKILL)
        wait_until(lambda: not alive(int(first)))
        second = evaluate(Proposal(0, {"x": 1.0}, Source.EXPLICIT))
        assert second.status == Status.DONE
        assert second.result != first
    finally:
        evaluate.close()


def pid_of(x):
    return float(os.getpid())


def test_an_interrupted_run_ends_them(launch):
    launch.write("experiment.py", NOTED.replace("PAUSE", "600"))
    process = launch.start(None, "-m", "phs_mpi", "experiment.py", "--isolate", "--grace", "0.2")
    wait_until(lambda: len(pids(launch.folder)) == 1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 3, err
    assert "to go on" in err
    wait_until(lambda: not any(alive(pid) for pid, _ in pids(launch.folder)))


def test_what_does_not_load_there_is_one_message(launch):
    launch.write(
        "experiment.py",
        """
        import os, sys
        from phs_mpi import Experiment
        if "phs_mpi.backends.isolated" in " ".join(sys.orig_argv):
            os._exit(9)
        experiment = Experiment(lambda x: x, {"x": float}, isolate=True)
        experiment.add(x=1.0)
        """,
    )
    for ranks in (None, 2):
        done = launch.phs(ranks, "experiment.py", "--output", f"{ranks}.h5")
        assert done.returncode != 0
        lines = [line for line in done.stderr.splitlines() if "could not load" in line]
        assert len(lines) == 1, done.stderr
        assert "it ended its process with exit status 9" in lines[0]


GPU = """
import os
from phs_mpi import Experiment, Grid

class OutOfMemoryError(RuntimeError):  # as PyTorch's
    pass

RAISES = {
    1: RuntimeError("CUDA error: device-side assert triggered"),
    2: ValueError("cuda is no optimizer: error"),
    3: OutOfMemoryError("CUDA out of memory"),
}

def target(i):
    with open(f"pid.{i}", "w") as file:
        file.write(str(os.getpid()))
    if i in RAISES:
        raise RAISES[i]
    return i

experiment = Experiment(target, {"i": int}, isolate=True, retries=1)
for i in range(5):
    experiment.add(i=i)
"""


def test_a_process_that_has_met_an_error_of_its_gpu_is_replaced(launch):
    """CUDA lets it do nothing more; without memory it can go on, and may have some later."""
    launch.write("gpu.py", GPU)
    done = launch.phs(2, "gpu.py")
    assert done.returncode == 0, done.stderr
    pids = [(launch.folder / f"pid.{i}").read_text() for i in range(5)]
    assert pids[0] == pids[1]
    assert pids[1] != pids[2]
    assert pids[2] == pids[3] == pids[4]
    snapshot = read(launch.folder / "gpu.h5", verify=True)
    assert [snapshot.status[i] == Status.DONE for i in range(5)] == [
        True,
        False,
        False,
        False,
        True,
    ]
    said = [snapshot.error(i) for i in (1, 2, 3)]
    assert [text.startswith("attempt 2: ") for text in said] == [False, False, True]
