"""Wiring of ranks and communicators: from experiment.py on all ranks to an exit status."""

from __future__ import annotations

import contextlib
import os
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
from ...hosts import this_host
from ...log import Outcome, Proposal
from .. import base, launching, placement
from ..signals import interrupts
from . import ulfm
from .exchange import MasterDied
from .side import FAREWELL_SECONDS, Side, abort, threads_allowed, together
from .waiting import meet
from .worker_side import WorkerLoop


def run(path: Path | Experiment, options: base.Options) -> int:
    """Run an experiment on all ranks; returns each rank's exit status."""
    world = MPI.COMM_WORLD
    check_launch(world)
    if world.Get_size() == 1:
        if not options.quiet:
            print("phs_mpi: one rank only: using the serial backend", file=sys.stderr)
        from .. import serial

        return serial.run(path, options)
    try:
        part = _follow
        if world.Get_rank() == 0:
            # What the others do not need; before they first wait for this rank.
            from .rank_0 import lead as part
        place = together(world, lambda: placement.of_rank(world, options.gpus_per_worker))
        with placement.applied(place):  # before the target's module is imported
            placed = placement.remark_of_ranks(world, place)
            experiment = together(world, lambda: base.load_for(path, options))
            return part(world, experiment, options, placed)
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


def _follow(
    world: MPI.Intracomm,
    experiment: Experiment,
    options: base.Options,
    placed: Sequence[str],
) -> int:
    """The part of every other rank than 0; returns the exit status."""
    together(world, lambda: None)  # rank 0 makes the job
    plan = world.bcast(None, root=0)
    if not plan.anything:
        meet(world)
        return world.bcast(None, root=0)
    with Side(world, plan, options) as side:
        _work(side, experiment)
    return side.end(side.share())


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
        loop.fail(f"rank {world.rank} on {this_host()}: {error}")
        time.sleep(FAREWELL_SECONDS)  # rank 0 prints the message and ends the job
        side.abort(str(error), error.exit_status)
    finally:
        with contextlib.suppress(OSError):
            worker.close()


def _forget(proposal: Proposal, outcome: Outcome) -> None:
    """Commit nothing: the run is without a store."""
