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
from collections.abc import Callable, Sequence
from pathlib import Path

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
from ...log import EntryKind, LogEntry, Outcome, Proposal
from ...progress import Progress
from .. import base, launching, placement, serial
from ..jobtime import requeue_if_due
from ..monitoring import monitored
from ..signals import GraceOver, TimeOver, interrupts
from . import ulfm
from .batching import Batching, announce_seconds
from .exchange import MasterDied
from .master import Master
from .side import (
    FAREWELL_SECONDS,
    Plan,
    Side,
    abort,
    parallel_writes,
    threads_allowed,
    together,
)
from .waiting import Backoff, Rhythm, meet
from .worker_side import WorkerLoop


def run(path: Path | Experiment, options: base.Options) -> int:
    """Run an experiment on all ranks; returns each rank's exit status."""
    world = MPI.COMM_WORLD
    check_launch(world)
    if world.Get_size() == 1:
        if not options.quiet:
            print("phs_mpi: one rank only: using the serial backend", file=sys.stderr)
        return serial.run(path, options)
    try:
        place = together(world, lambda: placement.of_rank(world, options.gpus_per_worker))
        with placement.applied(place):  # before the target's module is imported
            return _run(world, path, options, placement.remark_of_ranks(world, place))
    except (PhsError, SystemExit):
        raise  # all ranks have agreed to end (see together)
    except KeyboardInterrupt:  # as it begins or ends; in between rank 0 drains
        if world.Get_rank() == 0:
            print("phs_mpi: interrupted; the same command goes on", file=sys.stderr, flush=True)
        else:
            time.sleep(FAREWELL_SECONDS)
        world.Abort(base.INTERRUPTED)
        raise
    except BaseException:
        abort(world, traceback.format_exc())
        raise


def check_launch(world: MPI.Intracomm) -> None:
    """Raise BackendError if the launcher started another number of ranks than MPI sees."""
    launched = launching.launched_size()
    if launched is not None and launched != world.Get_size():
        library = MPI.Get_library_version().split(",")[0].split("\n")[0]
        raise BackendError(
            f"the launcher started {launched} ranks, but this MPI ({library}) sees "
            f"{world.Get_size()}: they are of different MPI installations",
            remedy="use the mpirun that belongs to the MPI that mpi4py uses (python -m "
            "mpi4py --mpi-lib-version), or under srun another --mpi= (pmix for Open MPI, "
            "pmi2 for MPICH)",
        )


def _run(
    world: MPI.Intracomm, path: Path | Experiment, options: base.Options, placed: Sequence[str]
) -> int:
    experiment = together(world, lambda: base.load_for(path, options))
    provenance = {"backend": "mpi", "mpi_library": MPI.Get_library_version().split("\n")[0]}
    job = together(
        world,
        lambda: None if world.rank else base.make_job(experiment, options, provenance),
    )
    if job is None:
        plan = world.bcast(None, root=0)
        if not plan.anything:
            meet(world)
            return world.bcast(None, root=0)
        with Side(world, plan, options) as mine:
            _work(mine, experiment)
        return mine.end(mine.share())
    side: Side | None = None
    ending: tuple[list[int], bool] = [], False
    try:
        plan = Plan(job.table, job.output, job.replay, bool(job.missing))
        world.bcast(plan, root=0)
        progress = base.make_progress(job, options)
        base.announce(job, progress, _remarks(world, options, placed) if job.missing else ())
        if job.missing:
            with (
                monitored(job.monitoring, progress),
                Side(world, plan, options, progress) as side,
            ):
                ending = _serve(side, job, progress)
        status = base.conclude(job, options, progress)
    finally:
        job.close()
    if side is None:
        meet(world)
    status = world.bcast(status, root=0) if side is None else side.share(status)
    # The other ranks have closed the file as well: SLURM may end the job any moment now.
    requeue_if_due(options, progress, *ending)
    return status if side is None else side.end(status)


def _remarks(world: MPI.Intracomm, options: base.Options, placed: Sequence[str]) -> list[str]:
    workers = world.Get_size() - 1
    remarks = []
    if not options.quiet:
        remarks = [f"backend mpi, {workers} worker{'s' if workers > 1 else ''} and the master"]
        remarks += placed
    if options.store and not options.rank_0_writes and not parallel_writes(options):
        remarks.append("h5py is built without MPI: rank 0 writes the results of all workers")
    if not threads_allowed():
        remarks.append(
            "this MPI does not allow calls from several threads: workers exchange results "
            "only between evaluations"
        )
    return remarks


def _serve(side: Side, job: base.Job, progress: Progress) -> tuple[list[int], bool]:
    """The run on rank 0; returns the signals that came, and whether its time was too short."""
    asked = math.inf

    def ask() -> None:
        nonlocal asked
        if side.a_rank_has_died():
            return
        asked = min(asked, time.monotonic())
        # mpirun kills its ranks a second or two after Ctrl-C: say now how to go on.
        seconds = job.time.in_reach(side.options.grace)
        progress.say(
            f"asked to stop: running evaluations have {seconds:.3g} s to finish; to go on: "
            f"{base.resume_command(side.options)}"
        )

    def stopping() -> bool:
        while schedule.remarks:
            progress.say(schedule.remarks.pop(0))
        if job.time.over:
            raise TimeOver
        if time.monotonic() > asked + side.options.grace:
            raise GraceOver
        return asked < math.inf

    def on_entry(entry: LogEntry) -> None:
        master.log_entry(entry)
        if entry.kind == EntryKind.COMPLETED:
            progress.extras = schedule.extras
            progress.completed(entry.index, entry.result)

    def on_death(worker: int, index: int | None) -> None:
        again = "" if index is None else f"; set {index // table.repeats.most} is handed out again"
        progress.say(f"rank {worker} has died{again}")

    store, schedule, table = side.store, job.schedule(), job.table
    side.exchange.on_entry = on_entry
    master = Master(
        side.schedule_comm,
        schedule,
        side.exchange,
        side.plan.table.dtype,
        side.hosts,
        store.append_log if store else lambda kinds, indices: None,
        Batching(announce_seconds(side.world.size)),
        # Cores that ranks share belong to the targets.
        Rhythm() if side.own_cores else Rhythm(shortest=Backoff().longest),
        commit=store.commit if store and not side.parallel else None,
        on_tick=stopping,
        on_death=on_death,
    )
    with interrupts(ask, again=False) as received:
        try:
            master.run()
        except GraceOver as over:
            # Workers are in the middle of evaluations; every completed one is on disk.
            progress.close()
            out_of_time = isinstance(over, TimeOver) or schedule.out_of_time
            what = f"{side.options.grace:g} s are" if not out_of_time else "the time of this run is"
            progress.say(f"{what} over: what still runs is left; {side.how_to_go_on()}")
            job.close()
            requeue_if_due(side.options, progress, received, out_of_time)
            side.abort(status=base.INTERRUPTED)
        except PhsError as error:
            # Workers are in the middle of evaluations: there is no orderly way to reach them.
            progress.close()
            progress.say(f"error: {error}")
            progress.say(side.how_to_go_on())
            side.abort(status=error.exit_status)
    return received, schedule.out_of_time


def _work(side: Side, experiment: Experiment) -> None:
    """The run on a worker rank."""
    world, table = side.world, side.plan.table
    worker = base.make_worker(experiment, table, side.plan.output, number=world.rank)
    commit: Callable[[Proposal, Outcome], None] | None = None
    if side.store is not None:
        commit = side.store.commit
    elif not side.options.store:
        commit = _forget
    loop = WorkerLoop(
        side.schedule_comm,
        side.exchange,
        side.log,
        table,
        worker,
        commit,
        retries=experiment.retries,
        wait_for_all=experiment.wait_for_all,
        longest_pause=side.pause,
    )
    if threads_allowed():
        side.exchange.start_thread(side.pause, side.exchange_failed)
    try:
        # When the job ends is rank 0's business: it drains, a worker finishes what it runs.
        with interrupts(lambda: None, again=False):
            loop.run()
    except (MasterDied, MPI.Exception) as error:
        if isinstance(error, MPI.Exception) and not (ulfm.enabled() and ulfm.is_death(error)):
            raise
        side.master_died()  # a worker talks to nobody else
    except PhsError as error:
        loop.fail(f"rank {world.rank} on {socket.gethostname()}: {error}")
        time.sleep(FAREWELL_SECONDS)  # rank 0 prints the message and ends the job
        side.abort(str(error), error.exit_status)
    finally:
        with contextlib.suppress(OSError):
            worker.close()


def _forget(proposal: Proposal, outcome: Outcome) -> None:
    """Commit nothing: the run is without a store."""
