"""Evaluations in a process of their own: what kills that process costs one evaluation.

A worker starts the process when it first evaluates, keeps it warm from one evaluation to the
next, and replaces it when it dies or has to be killed. It is started by ``subprocess``, which is
vfork and exec on Linux: nothing of an MPI library that has been initialised is ever forked.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING

from ..capture import salvage
from ..errors import BackendError, PhsError
from ..evaluation import evaluation_folder
from ..experiment import Experiment
from ..judging import may_have_lost_its_gpu
from ..limits import Limits, in_bytes
from ..log import Cause, Outcome, Proposal, Status
from ..table import Table
from . import shipping

if TYPE_CHECKING:
    import psutil

#: Seconds between two looks at the memory of an evaluation.
LOOK_SECONDS = 0.1
#: Seconds that a process which has hung up has to end.
FAREWELL_SECONDS = 2.0
#: How often a process is started for one evaluation if something kills it before that begins.
MOST_STARTS = 3
#: Variables of launchers: a process that has them takes itself for a rank.
LAUNCHERS = ("OMPI_", "PMIX_", "PMI_", "PRTE_", "MPI_LOCAL", "HYDRA_", "MPIR_")


@dataclass
class Setting:
    """What the process has to know before its first evaluation.

    Attributes
    ----------
    shipment : Shipment
        The experiment.
    path : list of str
        ``sys.path`` of the worker.
    folder : Path
        Parent of the evaluations' folders.
    worker : int
    host : str
    dies_with_parent : bool
        Whether the system is asked to kill it when the thread ends that started it.
    """

    shipment: shipping.Shipment
    path: list[str]
    folder: Path
    worker: int
    host: str
    dies_with_parent: bool


class IsolatedEvaluator:
    """Evaluates in another process; see :class:`phs_mpi.evaluation.Evaluator`.

    Parameters
    ----------
    experiment : Experiment
    table : Table
    output : Path
        The results file.
    folder : Path
        Parent of the evaluations' folders.
    worker : int
        Number of this worker.
    host : str
        Name of this machine.
    """

    def __init__(
        self,
        experiment: Experiment,
        table: Table,
        output: Path,
        folder: Path,
        worker: int,
        host: str,
    ):
        # The process is told values, and needs no table.
        self._shipment = replace(shipping.pack(experiment, table, output), table=None)
        self._repeats = table.repeats
        self._limits: Limits = experiment.limits
        self._output_limit = experiment.output_limit
        self._captures = experiment.capture
        self._folder, self._worker, self._host = folder, worker, host
        self._process: subprocess.Popen | None = None
        self._connection: Connection | None = None
        self._sentinel: int | None = None  # becomes readable when the process ends
        self._ready = False
        self._busy = False

    def __call__(self, proposal: Proposal) -> Outcome:
        """Evaluate one parameter set; returns whatever becomes of it.

        Raises
        ------
        PhsError
            If the process cannot load the experiment, or has nowhere to keep what is printed.
        """
        connection = self._give(proposal)
        begun, clock = time.time(), time.monotonic()
        self._busy = True
        try:
            cause, reason = self._wait(clock)
            if not reason:
                outcome = connection.recv()
                self._busy = False
                if isinstance(outcome, PhsError):
                    raise outcome
                if may_have_lost_its_gpu(outcome):
                    self._kill()
                return outcome
        except (EOFError, OSError):  # it has died
            reason = ""
        duration = time.monotonic() - clock
        if reason:
            self._kill()
        else:
            cause, reason = self._how_it_died()
        status = Status.TIMED_OUT if cause == Cause.TIMEOUT else Status.FAILED
        outcome = Outcome(proposal.index, status, error=reason, start=begun, end=begun + duration)
        outcome.worker, outcome.host, outcome.cause = self._worker, self._host, cause
        if self._captures:
            folder = evaluation_folder(self._folder, proposal.index, self._repeats)
            lost = salvage(self._folder, self._worker, self._output_limit, folder)
            outcome.error += f"; {lost}" if lost else ""
        self._start()  # it loads while this worker reports
        return outcome

    def close(self) -> None:
        """Let the process go."""
        if self._process is None:
            return
        assert self._connection is not None
        with contextlib.suppress(OSError):
            self._connection.send(None)
        try:
            self._process.wait(timeout=2.0 if self._ready and not self._busy else 0.0)
        except subprocess.TimeoutExpired:
            self._kill()
        else:
            self._forget()

    # -- inside ------------------------------------------------------------------------

    def _give(self, proposal: Proposal) -> Connection:
        """Give a process that has loaded the experiment something to do."""
        for _ in range(MOST_STARTS):
            connection = self._warm()
            try:
                connection.send(proposal)
                self._heard(None)
                connection.recv()  # it has begun
                return connection
            except (EOFError, OSError):  # something has killed it while it was idle
                self._kill()
        raise BackendError(
            f"the process for isolated evaluations died {MOST_STARTS} times while it was idle",
            remedy="look for messages of the system (memory?)",
        )

    def _warm(self) -> Connection:
        """The connection to a process that has loaded the experiment."""
        how = ""
        for _ in range(MOST_STARTS):
            if self._process is None:
                self._start()
            assert self._connection is not None
            if self._ready:
                return self._connection
            try:
                self._heard(None)
                answer = self._connection.recv()
            except (EOFError, OSError):
                _, how = self._how_it_died()
                if how.startswith("was killed"):  # from outside, perhaps
                    continue
                break
            if isinstance(answer, PhsError):
                raise answer
            self._ready = True
            return self._connection
        raise BackendError(
            f"the process for isolated evaluations could not load the experiment: it {how}",
            remedy="load the experiment without isolation to see why",
        )

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "phs_mpi.backends.isolated", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=child_environment(),
                start_new_session=True,  # Ctrl-C is the worker's business; and one group to kill
            )
        self._connection = Connection(ours.detach())
        with contextlib.suppress(AttributeError, OSError):  # Linux 5.3; without it see _heard
            self._sentinel = os.pidfd_open(self._process.pid)
        self._ready = self._busy = False
        main = threading.current_thread() is threading.main_thread()
        with contextlib.suppress(OSError):  # if it has died already, that shows later
            self._connection.send(
                Setting(self._shipment, sys.path[:], self._folder, self._worker, self._host, main)
            )

    def _heard(self, seconds: float | None) -> bool:
        """Wait so long for something from the process; whether there is.

        Raises
        ------
        EOFError
            If it has died. That need not end the connection: a program that it has forked may
            hold the other end as well.
        """
        assert self._connection is not None
        places: list[Connection | int] = [self._connection]
        if self._sentinel is not None:
            places.append(self._sentinel)
        ready = wait(places, seconds)
        if self._connection in ready:
            return True
        if ready:
            raise EOFError
        return False

    def _wait(self, begun: float) -> tuple[Cause, str]:
        """Wait for the outcome; returns why the process has to be killed, if it has."""
        timeout, memory = self._limits.timeout, self._limits.memory
        while True:
            left = None if timeout is None else begun + timeout - time.monotonic()
            if left is not None and left <= 0:
                return Cause.TIMEOUT, f"took longer than {timeout:g} s (timeout)"
            pause = left if memory is None else min(LOOK_SECONDS, left or LOOK_SECONDS)
            if self._heard(pause):
                return Cause.NONE, ""
            if memory is not None and self._memory() > memory:
                used = f"used more than {in_bytes(memory)} of memory (memory_limit)"
                return Cause.MEMORY, used

    def _memory(self) -> int:
        """Resident bytes of the process and all that it has started."""
        return sum(_resident(process) for process in self._family())

    def _family(self) -> list[psutil.Process]:
        import psutil

        assert self._process is not None
        try:
            head = psutil.Process(self._process.pid)
            return [head, *head.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _kill(self) -> None:
        """Kill the process and all that it has started."""
        if self._process is None:
            return
        # The family first: members that opened a session of their own are in no group of ours.
        family = self._family() if self._process.poll() is None else []
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for member in family:
            _end(member)
        self._process.wait()
        self._forget()

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._sentinel is not None:
            os.close(self._sentinel)
        self._process = self._connection = self._sentinel = None

    def _how_it_died(self) -> tuple[Cause, str]:
        assert self._process is not None
        try:
            code = self._process.wait(timeout=FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill()
            lost = "lost its connection to the worker (does it close files of others?)"
            return Cause.LOST, lost
        self._kill()
        if code >= 0:
            return Cause.EXIT, f"ended its process with exit status {code}"
        name = signal.Signals(-code).name
        what = (signal.strsignal(-code) or "").lower()
        if -code == signal.SIGKILL:
            what = "was the machine out of memory?"
        return Cause.SIGNAL, f"was killed by {name} ({what})"


def child_environment() -> dict[str, str]:
    """The environment of a process that is no rank, but imports what this one does."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHERS)}
    return environment | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def _end(process: psutil.Process) -> None:
    import psutil

    with contextlib.suppress(psutil.Error):  # it has ended meanwhile, or is not ours to end
        process.kill()


def _resident(process: psutil.Process) -> int:
    import psutil

    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # it has ended meanwhile
        return 0
