"""The process in which isolated evaluations run: ``python -m phs_mpi.backends.isolated FD``."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection

from ..errors import PhsError
from . import base, shipping
from .isolation import Setting

_DIE_WITH_PARENT, _ADOPT_ORPHANS = 1, 36  # PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER


def main(descriptor: int) -> None:
    """Load the experiment, then evaluate until there is nothing more to do."""
    os.set_inheritable(descriptor, False)  # nobody else is to hold the connection open
    connection = Connection(descriptor)
    parent = os.getppid()
    setting: Setting = connection.recv()
    bind_to(parent, setting.dies_with_parent)
    sys.path[:] = setting.path
    try:
        experiment = shipping.unpack(setting.shipment).experiment
        evaluate = base.make_evaluator(
            experiment, experiment.repeats, setting.folder, setting.worker, setting.host
        )
    except PhsError as error:
        connection.send(error)
        return
    with contextlib.suppress(EOFError, OSError):  # the worker is gone
        connection.send("ready")
        while (proposal := connection.recv()) is not None:
            connection.send("begun")
            try:
                connection.send(evaluate(proposal))
            except PhsError as error:
                connection.send(error)
    evaluate.close()


def bind_to(parent: int, dies_with_parent: bool) -> None:
    """Do not outlive the worker, and have nothing outlive this process unseen."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    libc.prctl(_ADOPT_ORPHANS, 1)
    if dies_with_parent:
        libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:  # it was quicker
            os._exit(1)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True, name="phs-parent").start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]))
