"""Wiring of ranks and communicators: from experiment.py on all ranks to an exit status."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before MPI is imported: the library reads them when it starts. The binomial tree that Open
# MPI takes by default would send one worker's broadcast through other workers' ranks, where
# a target that holds the GIL stops it; and ranks that share a core must yield it.
os.environ.setdefault("OMPI_MCA_coll_libnbc_ibcast_algorithm", "1")
os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")

import mpi4py

mpi4py.rc.thread_level = os.environ.get("PHS_MPI_THREAD_LEVEL", "multiple")

# Every rank would print mpi4py's warning of a foreign launcher; check_launch says it once.
warnings.filterwarnings("ignore", "suspicious MPI execution environment", RuntimeWarning)

from mpi4py import MPI

from ...errors import BackendError, PhsError
from ...experiment import Experiment
from ...log import EntryKind, Log, LogEntry, Outcome, Proposal
from ...progress import Progress
from ...store import Store, open_store, probe
from ...table import Table
from .. import base, serial
from ..signals import GraceOver, interrupts
from .deathwatch import DeathWatch
from .exchange import Exchange
from .master import Master
from .waiting import longest_pause
from .worker_side import WorkerLoop, same_log_everywhere

#: Exit status for a defect of ours, or a rank that broke down.
BROKEN = 70

#: How long the launcher has to end a job of which a rank has died, before another rank does.
LAUNCHER_SECONDS = 3.0

#: How long a worker that cannot go on leaves it to rank 0 to end the job.
FAREWELL_SECONDS = 10.0


def run(path: Path | Experiment, options: base.Options) -> int:
    """Run an experiment on all ranks; returns each rank's exit status."""
    world = MPI.COMM_WORLD
    check_launch(world)
    if world.Get_size() == 1:
        if not options.quiet:
            print("phs_mpi: one rank only: using the serial backend", file=sys.stderr)
        return serial.run(path, options)
    try:
        return _run(world, path, options)
    except (PhsError, SystemExit):
        raise  # all ranks have agreed to end (see _together)
    except BaseException:
        abort(world, traceback.format_exc())
        raise


def check_launch(world: MPI.Intracomm) -> None:
    """Raise BackendError if the launcher started another number of ranks than MPI sees."""
    launched = base.launched_size()
    if launched is not None and launched != world.Get_size():
        library = MPI.Get_library_version().split(",")[0].split("\n")[0]
        raise BackendError(
            f"the launcher started {launched} ranks, but this MPI ({library}) sees "
            f"{world.Get_size()}: they are of different MPI installations",
            remedy="use the mpirun that belongs to the MPI that mpi4py uses (python -m "
            "mpi4py --mpi-lib-version), or under srun another --mpi= (pmix for Open MPI, "
            "pmi2 for MPICH)",
        )


def abort(world: MPI.Intracomm, text: str, status: int = BROKEN) -> None:
    """End the whole job at once with this rank's message."""
    sys.stderr.write(_cannot_go_on(world, text))
    sys.stderr.flush()
    world.Abort(status)


def _cannot_go_on(world: MPI.Intracomm, text: str) -> str:
    return f"phs_mpi: rank {world.Get_rank()} on {socket.gethostname()} cannot go on:\n{text}\n"


@dataclass
class _Plan:
    """What rank 0 tells the others about the run."""

    table: Table
    output: Path
    replay: list[LogEntry]
    anything: bool  # whether a parameter set is left to evaluate


def _run(world: MPI.Intracomm, path: Path | Experiment, options: base.Options) -> int:
    experiment = _together(world, lambda: base.load_for(path, options))
    provenance = {"backend": "mpi", "mpi_library": MPI.Get_library_version().split("\n")[0]}
    job = _together(
        world,
        lambda: None if world.rank else base.make_job(experiment, options, provenance),
    )
    if job is None:
        plan = world.bcast(None, root=0)
        if plan.anything:
            with _Side(world, plan, options) as side:
                _work(side, experiment)
        return world.bcast(None, root=0)
    try:
        world.bcast(_Plan(job.table, job.output, job.replay, bool(job.missing)), root=0)
        progress = base.make_progress(job, options)
        base.announce(job, progress, _remarks(world, options) if job.missing else ())
        if job.missing:
            plan = _Plan(job.table, job.output, job.replay, True)
            with _Side(world, plan, options, progress) as side:
                _serve(side, job, progress)
        return world.bcast(base.conclude(job, options, progress), root=0)
    finally:
        job.close()


class _Side:
    """What a rank has while the run lasts; made and closed on all ranks together."""

    def __init__(
        self,
        world: MPI.Intracomm,
        plan: _Plan,
        options: base.Options,
        progress: Progress | None = None,
    ):
        self.world = world
        self.plan = plan
        self.options = options
        self.progress = progress
        # Three communicators, so that nothing is ever matched by the wrong receive.
        self.schedule_comm, self.exchange_comm = world.Dup(), world.Dup()
        self.parallel = _parallel(options)
        self.store: Store | None = None
        if self.parallel and (doubt := probe.doubt(world, plan.output)):
            self.parallel = False
            if progress is not None:
                progress.say(f"rank 0 writes the results of all workers: {doubt}")
        if self.parallel:
            store_comm = world.Dup()
            self.store = _together(world, lambda: open_store(plan.output, plan.table, store_comm))
        elif options.store and world.rank == 0:
            self.store = open_store(plan.output, plan.table)
        node: Any = world.Split_type(MPI.COMM_TYPE_SHARED)
        self.pause = longest_pause(node.Get_size(), os.cpu_count() or 1)
        self.log = Log(plan.replay)
        self._stderr = os.dup(2)
        self.watch = DeathWatch(world, node, self._neighbour_died)
        node.Free()

    def exchange(self, on_entry: Callable[[LogEntry], None] | None = None) -> Exchange:
        """This rank's part of the exchange."""
        return Exchange(self.exchange_comm, self.log, self.plan.table.dtype, on_entry)

    def abort(self, text: str = "", status: int = BROKEN) -> None:
        """End the whole job at once, with this rank's message if there is one."""
        self.watch.leave()
        if text:
            self._say(_cannot_go_on(self.world, text))
        self.world.Abort(status)

    def _say(self, text: str) -> None:
        # Not through sys.stderr: a target's output may be redirected at this moment.
        os.write(self._stderr, text.encode(errors="backslashreplace"))

    def how_to_go_on(self) -> str:
        """What the user should know when the run breaks off."""
        again = f"to go on: {base.resume_command(self.options)}"
        if not self.options.store:
            return again
        return f"all completed evaluations are in {self.plan.output}; {again}"

    def _neighbour_died(self, rank: int, pid: int) -> None:
        self._say(
            f"phs_mpi: rank {rank} on {socket.gethostname()} has died (process {pid}); "
            f"{self.how_to_go_on()}\n"
        )
        self.watch.leave()
        time.sleep(LAUNCHER_SECONDS)
        if _threads_allowed():
            self.world.Abort(BROKEN)
        os._exit(BROKEN)  # this is not the thread that may call MPI

    def __enter__(self) -> _Side:
        return self

    def __exit__(self, kind, error, trace) -> None:
        if error is not None:
            self.watch.leave()
            return  # the job is being aborted: nothing collective will ever finish
        self.watch.close()
        if self.store is not None:
            self.store.close()
        if not self.options.check_log:
            return
        if not same_log_everywhere(self.world, self.log):
            raise AssertionError("the ranks do not hold the same log")
        if self.progress is not None:
            self.progress.say(
                f"{self.world.size} ranks hold the same log of {len(self.log)} entries"
            )


def _together(world: MPI.Intracomm, action):
    """Do `action` on every rank; an error on any of them becomes one error on all.

    Rank 0 raises the error of the lowest rank that has one; the others exit with the same
    status without a word.
    """
    error, value = None, None
    try:
        value = action()
    except PhsError as caught:
        error = caught
    errors = world.allgather(error)
    first = next((e for e in errors if e is not None), None)
    if first is None:
        return value
    if world.Get_rank() != 0:
        sys.exit(first.exit_status)
    culprit = errors.index(first)
    if culprit != 0:
        first.message = f"on rank {culprit}: {first.message}"
    raise first


def _parallel(options: base.Options) -> bool:
    """Whether each worker writes its own rows."""
    if not options.store or options.rank_0_writes:
        return False
    import h5py

    return bool(h5py.get_config().mpi)


def _remarks(world: MPI.Intracomm, options: base.Options) -> list[str]:
    workers = world.Get_size() - 1
    remarks = []
    if not options.quiet:
        remarks = [f"backend mpi, {workers} worker{'s' if workers > 1 else ''} and the master"]
    if options.store and not options.rank_0_writes and not _parallel(options):
        remarks.append("h5py is built without MPI: rank 0 writes the results of all workers")
    if not _threads_allowed():
        remarks.append(
            "this MPI does not allow calls from several threads: workers exchange results "
            "only between evaluations"
        )
    return remarks


def _threads_allowed() -> bool:
    return MPI.Query_thread() >= MPI.THREAD_MULTIPLE


def _serve(side: _Side, job: base.Job, progress: Progress) -> None:
    """The run on rank 0."""
    asked = math.inf

    def ask() -> None:
        nonlocal asked
        if side.watch.someone_died():
            return  # that is why the launcher ends us, and the rank beside it says so
        asked = min(asked, time.monotonic())
        # mpirun kills its ranks a second or two after Ctrl-C: say now how to go on.
        progress.say(
            f"asked to stop: running evaluations have {side.options.grace:g} s to finish; to go "
            f"on: {base.resume_command(side.options)}"
        )

    def stopping() -> bool:
        if time.monotonic() > asked + side.options.grace:
            raise GraceOver
        return asked < math.inf

    def on_entry(entry: LogEntry) -> None:
        master.log_entry(entry)
        if entry.kind == EntryKind.COMPLETED:
            progress.extras = schedule.extras
            progress.completed(entry.index, entry.result)

    store, schedule = side.store, job.schedule()
    master = Master(
        side.schedule_comm,
        schedule,
        side.exchange(on_entry),
        side.plan.table.dtype,
        store.append_log if store else lambda kinds, indices: None,
        commit=store.commit if store and not side.parallel else None,
        # A header costs every rank tens of microseconds: fewer of them where there are many.
        announce_seconds=min(max(1e-3, 1e-4 * side.world.size), 20e-3),
        on_tick=stopping,
    )
    with interrupts(ask, again=False):
        try:
            master.run()
        except GraceOver:
            # Workers are in the middle of evaluations; every completed one is on disk.
            progress.close()
            progress.say(f"{side.options.grace:g} s are over: what still runs is left")
            side.abort(status=base.INTERRUPTED)
        except PhsError as error:
            # Workers are in the middle of evaluations: there is no orderly way to reach them.
            progress.close()
            progress.say(f"error: {error}")
            progress.say(side.how_to_go_on())
            side.abort(status=error.exit_status)


def _work(side: _Side, experiment: Experiment) -> None:
    """The run on a worker rank."""
    world, table = side.world, side.plan.table
    worker = base.make_worker(experiment, table, side.plan.output, number=world.rank)
    exchange = side.exchange()
    commit: Callable[[Proposal, Outcome], None] | None = None
    if side.store is not None:
        commit = side.store.commit
    elif not side.options.store:
        commit = _forget
    loop = WorkerLoop(
        side.schedule_comm,
        exchange,
        side.log,
        table,
        worker,
        commit,
        wait_for_all=experiment.wait_for_all,
        longest_pause=side.pause,
    )
    if _threads_allowed():
        exchange.start_thread(side.pause, lambda error: side.abort(_formatted(error)))
    try:
        # When the job ends is rank 0's business: it drains, a worker finishes what it runs.
        with interrupts(lambda: None, again=False):
            loop.run()
    except PhsError as error:
        loop.fail(f"rank {world.rank} on {socket.gethostname()}: {error}")
        time.sleep(FAREWELL_SECONDS)  # rank 0 prints the message and ends the job
        side.abort(str(error), error.exit_status)
    finally:
        with contextlib.suppress(OSError):
            worker.close()


def _forget(proposal: Proposal, outcome: Outcome) -> None:
    """Commit nothing: the run is without a store."""


def _formatted(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
