"""Monitor functions run in one process beside rank 0 or the client, which does nothing for them.

That process follows the results file, as ``status`` does: a slow function falls behind, and delays
nobody. It is started as those for isolated evaluations are (see isolation.py).
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import DefinitionError
from ..experiment import Experiment, qualified_name
from ..progress import Progress

#: Seconds that monitor functions have at the end of a run to catch up.
CATCH_UP_SECONDS = 10.0
#: Seconds after that until their process is killed in the middle of a call.
FAREWELL_SECONDS = 2.0

#: The account at the head of the file that both processes have: evaluations that the functions
#: were called with, calls that raised, what the last of them raised.
ACCOUNT = struct.Struct("<qq400s")


@dataclass
class Setting:
    """What the process has to know; it stands in their file behind the account.

    Attributes
    ----------
    output : Path
        The results file.
    start : int
        Entries of its log that belong to earlier runs.
    found : dict of int to float
        Results of evaluations of earlier runs.
    path : str
        File of the experiment; empty if it has none.
    pickled : bytes
        The functions, if there is no file.
    search_path : list of str
        ``sys.path`` here.
    dies_with_parent : bool
        Whether the system is asked to kill it when the thread ends that started it.
    """

    output: Path
    start: int
    found: dict[int, float]
    path: str
    pickled: bytes
    search_path: list[str]
    dies_with_parent: bool


def setting_for(experiment: Experiment, output: Path) -> Setting | None:
    """What the process has to know of a new run; None if there are no monitor functions.

    Raises
    ------
    DefinitionError
        If the functions have no file to be loaded from, and cannot be pickled either.
    """
    if not experiment.monitors:
        return None
    return Setting(
        output=output.absolute(),
        start=0,
        found={},
        path=experiment.path,
        pickled=b"" if experiment.path else _pickled(experiment.monitors),
        search_path=sys.path[:],
        dies_with_parent=threading.current_thread() is threading.main_thread(),
    )


def _pickled(functions: Sequence[Callable]) -> bytes:
    import cloudpickle

    for function in functions:
        try:
            cloudpickle.dumps(function)
        except Exception as error:
            raise DefinitionError(
                f"the monitor {qualified_name(function)!r} cannot be sent to another process: "
                f"{type(error).__name__}: {error}",
                value=function,
                remedy="make what it needs inside it, or define the experiment in an experiment.py",
            ) from error
    return cloudpickle.dumps(tuple(functions))


@contextlib.contextmanager
def monitored(setting: Setting | None, progress: Progress) -> Iterator[None]:
    """Inside, the monitor functions of a run are called; at the end they may catch up.

    Parameters
    ----------
    setting : Setting or None
        None: there are no such functions.
    progress : Progress
        Counts the evaluations, and says what the user should know.
    """
    before = progress.finished
    started = None
    try:
        started = None if setting is None else _start(setting)
    except OSError as error:
        progress.say(f"monitor functions are not called: their process cannot start ({error})")
    if started is None:
        yield
        return
    process, pipe, file = started
    with file:
        try:
            yield
            status = _end(process, pipe)
        finally:
            os.close(pipe)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for line in _account(file, status, progress.finished - before):
            progress.say(line)


def _start(setting: Setting) -> tuple[subprocess.Popen, int, IO[bytes]]:
    """Start the process; returns it, a pipe that tells it when the run is over, and their file."""
    from .isolation import child_environment

    with contextlib.ExitStack() as undo:
        file = undo.enter_context(tempfile.TemporaryFile(prefix="phs_mpi-"))
        file.write(ACCOUNT.pack(0, 0, b""))
        pickle.dump(setting, file)
        file.flush()
        theirs, ours = os.pipe()
        undo.callback(os.close, ours)
        try:
            module = "phs_mpi.backends.monitored"
            process = subprocess.Popen(
                [sys.executable, "-m", module, str(file.fileno()), str(theirs)],
                pass_fds=[file.fileno(), theirs],
                stdin=subprocess.DEVNULL,
                env=child_environment(),
                start_new_session=True,  # Ctrl-C ends the run, and thereby this process
            )
        finally:
            os.close(theirs)
        undo.pop_all()
    return process, ours, file


def _end(process: subprocess.Popen, pipe: int) -> int | None:
    """Give the process its time to catch up; returns its exit status, None if it took longer."""
    with contextlib.suppress(BrokenPipeError):
        os.write(pipe, b".")
    # Who is too impatient for that may interrupt it; the run itself is over.
    with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
        return process.wait(timeout=CATCH_UP_SECONDS + FAREWELL_SECONDS)
    return None


def _account(file: IO[bytes], status: int | None, evaluations: int) -> Iterator[str]:
    """What the user should know of the process, a line each."""
    called, raised, last = ACCOUNT.unpack(os.pread(file.fileno(), ACCOUNT.size, 0))
    if raised:
        text = last.rstrip(b"\0").decode("utf-8", "replace")
        times = f"{raised} times" if raised > 1 else "once"
        yield f"monitor functions raised {times}, last {text}"
    if status:
        how = f"exit status {status}" if status > 0 else f"signal {signal.Signals(-status).name}"
        yield f"the process of the monitor functions ended early ({how})"
    if called < evaluations:
        missed = f"monitor functions missed {evaluations - called} of {evaluations} evaluations"
        why = f": they had {CATCH_UP_SECONDS:g} s after the last to catch up" if not status else ""
        yield missed + why
