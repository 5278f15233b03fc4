"""Wiring of ranks and communicators: from experiment.py on all ranks to an exit status."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
import traceback
from pathlib import Path

# Before MPI is imported: the library reads them when it starts. The binomial tree that Open
# MPI takes by default would send one worker's broadcast through other workers' ranks, where
# a target that holds the GIL stops it; and ranks that share a core must yield it.
os.environ.setdefault("OMPI_MCA_coll_libnbc_ibcast_algorithm", "1")
os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")

import mpi4py

mpi4py.rc.thread_level = os.environ.get("PHS_MPI_THREAD_LEVEL", "multiple")

from mpi4py import MPI

from ...errors import BackendError, PhsError
from ...loading import load_experiment
from ...log import EntryKind, Log, LogEntry
from .. import base, serial
from . import messages
from .exchange import Exchange
from .master import Master
from .waiting import longest_pause
from .worker_side import WorkerLoop, same_log_everywhere

#: Exit status for a defect of ours, or a rank that broke down.
BROKEN = 70

#: How long a worker that cannot go on leaves it to rank 0 to end the job.
FAREWELL_SECONDS = 10.0


def run(path: Path, options: base.Options) -> int:
    """Run experiment.py on all ranks; returns each rank's exit status."""
    world = MPI.COMM_WORLD
    check_launch(world)
    if world.Get_size() == 1:
        if not options.quiet:
            print("phs_mpi: one rank only: using the serial backend", file=sys.stderr)
        return serial.run(path, options)
    try:
        return _run(world, path, options)
    except PhsError:
        raise
    except BaseException:
        abort(world, traceback.format_exc())
        raise


def check_launch(world: MPI.Comm) -> None:
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


def abort(world: MPI.Comm, text: str, status: int = BROKEN) -> None:
    """End the whole job at once with this rank's message."""
    sys.stderr.write(
        f"phs_mpi: rank {world.Get_rank()} on {socket.gethostname()} cannot go on:\n{text}\n"
    )
    sys.stderr.flush()
    world.Abort(status)


def _run(world: MPI.Comm, path: Path, options: base.Options) -> int:
    rank = world.Get_rank()
    # Three communicators, so that nothing is ever matched by the wrong receive.
    schedule_comm, exchange_comm, store_comm = world.Dup(), world.Dup(), world.Dup()
    experiment = _together(world, lambda: load_experiment(path, options.seed))
    parallel = options.store and not options.rank_0_writes and _parallel_hdf5()
    job = None

    def prepare() -> tuple | None:
        nonlocal job
        if rank != 0:
            return None
        job = base.make_job(
            experiment,
            path,
            options,
            {"backend": "mpi", "mpi_library": MPI.Get_library_version().split("\n")[0]},
        )
        return job.table, job.output, job.replay, bool(job.missing)

    _together(world, prepare)
    try:
        table, output, replay, anything = world.bcast(
            (job.table, job.output, job.replay, bool(job.missing)) if job else None, root=0
        )
        progress = base.make_progress(job, options) if job else None
        if progress:
            base.announce(job, progress, _remarks(options, parallel) if anything else ())
        if anything:
            log = Log(replay)
            store = _open_store(world, store_comm, output, table, options, parallel)
            arguments = (world, schedule_comm, exchange_comm, table, log, store, options)
            if rank == 0:
                _serve(job, progress, parallel, *arguments)
            else:
                _work(experiment, output, parallel, *arguments)
            if store is not None:
                store.close()
            if options.check_log and not same_log_everywhere(world, log):
                raise AssertionError("the ranks do not hold the same log")
            if options.check_log and rank == 0:
                progress.say(f"{world.Get_size()} ranks hold the same log of {len(log)} entries")
        status = base.conclude(job, options, progress) if job else None
        return world.bcast(status, root=0)
    finally:
        if job:
            job.close()


def _together(world: MPI.Comm, action):
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


def _parallel_hdf5() -> bool:
    import h5py

    return bool(h5py.get_config().mpi)


def _remarks(options: base.Options, parallel: bool) -> list[str]:
    remarks = []
    if options.store and not parallel and not options.rank_0_writes:
        remarks.append("h5py is built without MPI: rank 0 writes the results of all workers")
    if not _threads_allowed():
        remarks.append(
            "this MPI does not allow calls from several threads: workers exchange results "
            "only between evaluations"
        )
    return remarks


def _threads_allowed() -> bool:
    return MPI.Query_thread() >= MPI.THREAD_MULTIPLE


def _open_store(world, store_comm, output, table, options, parallel):
    from ...store import open_store

    if not options.store or not (parallel or world.Get_rank() == 0):
        return None
    if parallel:
        return _together(world, lambda: open_store(output, table, store_comm))
    return open_store(output, table)


def _pause(world: MPI.Comm) -> float:
    node = world.Split_type(MPI.COMM_TYPE_SHARED)
    ranks_here = node.Get_size()
    node.Free()
    return longest_pause(ranks_here, os.cpu_count() or 1)


def _bayesian_test(table):
    groups = [bool(group.bayesian) for group in table.groups]
    group_of = table.group_of
    return (lambda index: groups[group_of[index]]), any(groups)


def _serve(job, progress, parallel, world, schedule_comm, exchange_comm, table, log, store, options):
    is_bayesian, any_bayesian = _bayesian_test(table)
    record = messages.record_dtype(table.dtype if any_bayesian else None)
    pause = _pause(world)
    asked = False

    def ask() -> None:
        nonlocal asked
        asked = True
        progress.say("asked to stop: running evaluations finish first")

    def on_entry(entry: LogEntry) -> None:
        master.log_entry(entry)
        if entry.kind == EntryKind.COMPLETED:
            progress.completed(entry.index, entry.result)

    exchange = Exchange(exchange_comm, log, record, is_bayesian, on_entry)
    master = Master(
        schedule_comm,
        job.schedule(),
        exchange,
        store.append_log if store else lambda kinds, indices: None,
        commit=store.commit if store and not parallel else None,
        # A header costs every rank tens of microseconds: fewer of them where there are many.
        announce_seconds=min(max(1e-3, 1e-4 * world.Get_size()), 20e-3),
        longest_pause=min(pause, 2e-3),
        on_tick=lambda: asked,
    )
    with base.interrupts(ask, again=False):
        try:
            master.run()
        except PhsError as error:
            # Workers are in the middle of evaluations: there is no orderly way to reach them.
            progress.close()
            again = base.resume_command(options)
            progress.say(f"error: {error}")
            progress.say(f"all completed evaluations are in {job.output}; to go on: {again}")
            world.Abort(error.exit_status)


def _work(experiment, output, parallel, world, schedule_comm, exchange_comm, table, log, store, options):
    is_bayesian, any_bayesian = _bayesian_test(table)
    record = messages.record_dtype(table.dtype if any_bayesian else None)
    pause = _pause(world)
    exchange = Exchange(exchange_comm, log, record, is_bayesian)
    worker = base.make_worker(experiment, table, output, number=world.Get_rank())
    if store is not None:
        commit = store.commit
    elif options.store:
        commit = None
    else:
        commit = lambda proposal, outcome: None  # noqa: E731
    loop = WorkerLoop(
        schedule_comm,
        exchange,
        log,
        table,
        worker,
        commit,
        wait_for_all=experiment.wait_for_all,
        longest_pause=pause,
    )
    if _threads_allowed():
        exchange.start_thread(pause, lambda error: abort(world, _formatted(error)))
    try:
        # The job's end is rank 0's business: it drains, and a worker finishes what it runs.
        with base.interrupts(lambda: None, again=False):
            loop.run()
    except PhsError as error:
        loop.fail(f"rank {world.Get_rank()} on {socket.gethostname()}: {error}")
        time.sleep(FAREWELL_SECONDS)  # rank 0 prints the message and ends the job
        abort(world, str(error), error.exit_status)
    finally:
        with contextlib.suppress(OSError):
            worker.close()


def _formatted(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
