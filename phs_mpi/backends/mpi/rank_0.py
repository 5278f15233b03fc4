"""The part of rank 0: it makes the job, hands out its sets, and says how it ended."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from mpi4py import MPI

from ...errors import PhsError
from ...experiment import Experiment
from ...log import EntryKind, LogEntry
from ...progress import Progress
from .. import base
from ..job import Job, announce, conclude, make_job, make_progress
from ..jobtime import requeue_if_due
from ..monitoring import monitored
from ..signals import GraceOver, TimeOver, interrupts
from .batching import Batching, announce_seconds
from .master import Master
from .side import Plan, Side, parallel_writes, threads_allowed, together
from .waiting import Backoff, Rhythm, meet


def lead(
    world: MPI.Intracomm,
    experiment: Experiment,
    options: base.Options,
    placed: Sequence[str],
) -> int:
    """Run the experiment with the other ranks; returns the exit status of all of them.

    Parameters
    ----------
    world : mpi4py.MPI.Intracomm
        All ranks; the others are in ``backend._follow``.
    experiment : Experiment
    options : Options
    placed : sequence of str
        What the user should know of the workers' places.
    """
    library = MPI.Get_library_version().split("\n")[0].rstrip("\0")  # C's end of a string, in some
    provenance = {"backend": "mpi", "mpi_library": library}
    job = together(world, lambda: make_job(experiment, options, provenance))
    side: Side | None = None
    ending: tuple[list[int], bool] = [], False
    try:
        plan = Plan(job.table, job.output, job.replay, bool(job.missing))
        world.bcast(plan, root=0)
        progress = make_progress(job, options)
        announce(job, progress, _remarks(world, options, placed) if job.missing else ())
        if job.missing:
            with (
                monitored(job.monitoring, progress),
                Side(world, plan, options, progress) as side,
            ):
                ending = _serve(side, job, progress)
        status = conclude(job, options, progress)
    finally:
        job.close()
    if side is None:
        meet(world)
    # The other ranks have closed the file as well: SLURM may end the job any moment now. They wait
    # for the status: where they are ended in MPI_Finalize, SLURM 22.05 may not get rid of the step.
    requeue_if_due(options, progress, *ending)
    status = world.bcast(status, root=0) if side is None else side.share(status)
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


def _serve(side: Side, job: Job, progress: Progress) -> tuple[list[int], bool]:
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
