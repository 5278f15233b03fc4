"""The process of monitor functions: ``python -m phs_mpi.backends.monitored FILE PIPE``."""

from __future__ import annotations

import os
import pickle
import select
import sys
import time
from collections.abc import Callable, Sequence

from ..errors import PhsError
from ..loading import load_experiment
from ..monitor import Follower, Monitors
from .isolated import bind_to
from .monitoring import ACCOUNT, CATCH_UP_SECONDS, Setting

#: Seconds between two looks at the results file.
LOOK_SECONDS = 0.1


def main(file: int, pipe: int) -> int:
    """Call the functions with every evaluation that completes, until the run is over."""
    for descriptor in (file, pipe):
        os.set_inheritable(descriptor, False)
    parent = os.getppid()
    with os.fdopen(os.dup(file), "rb") as stream:
        stream.seek(ACCOUNT.size)
        setting: Setting = pickle.load(stream)
    bind_to(parent, setting.dies_with_parent)
    sys.path[:] = setting.search_path
    try:
        monitors = Monitors(_functions(setting), _say)
        follower = Follower(setting.output, setting.start, setting.found)
    except PhsError as error:
        _say(f"monitor functions are not called: {error}")
        return error.exit_status
    deadline = None
    while True:
        if deadline is not None:
            time.sleep(LOOK_SECONDS)
        elif _over(pipe, LOOK_SECONDS):
            deadline = time.monotonic() + CATCH_UP_SECONDS
        for completion in follower.new():
            if deadline is None and _over(pipe, 0.0):
                deadline = time.monotonic() + CATCH_UP_SECONDS
            if deadline is not None and time.monotonic() > deadline:
                return 0
            monitors(completion)
            last = monitors.last.encode("utf-8", "backslashreplace")
            os.pwrite(file, ACCOUNT.pack(monitors.called, monitors.raised, last), 0)
        if deadline is not None and (not follower.behind or time.monotonic() > deadline):
            return 0


def _functions(setting: Setting) -> Sequence[Callable]:
    if setting.pickled:
        try:
            return pickle.loads(setting.pickled)
        except Exception as error:
            raise PhsError(
                f"they cannot be unpickled in their process: {type(error).__name__}: {error}"
            ) from error
    return load_experiment(setting.path).monitors


def _over(pipe: int, seconds: float) -> bool:
    """Wait so long for the end of the run; whether it has come."""
    if not select.select([pipe], [], [], seconds)[0]:
        return False
    if not os.read(pipe, 1):  # who started this process has died
        os._exit(1)
    return True


def _say(text: str) -> None:
    """A line for the user, over the progress bar if there is one."""
    clear = "\r\033[K" if os.isatty(2) else ""
    os.write(2, f"{clear}phs_mpi: {text}\n".encode("utf-8", "backslashreplace"))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
