"""What a rank has while a run lasts: communicators, file, log, and ways to end."""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from mpi4py import MPI

from ...errors import PhsError
from ...hosts import this_host
from ...log import Log, LogEntry
from ...store import probe
from ...store.writer import Store, open_store
from ...table import Table
from .. import base
from . import ulfm
from .deathwatch import DeathWatch
from .exchange import Exchange, MasterDied
from .waiting import any_of, longest_pause, meet
from .worker_side import same_log_everywhere

if TYPE_CHECKING:
    from ...progress import Progress

#: Exit status for a defect of ours, or a rank that broke down.
BROKEN = 70

#: After a death, before it is reported: where the whole job is being killed, nobody speaks.
ALONE_SECONDS = 0.25

#: How long the launcher has to end a job of which a rank has died, before another rank does.
LAUNCHER_SECONDS = 3.0

#: How long a worker that cannot go on leaves it to rank 0 to end the job.
FAREWELL_SECONDS = 10.0


def abort(world: MPI.Intracomm, text: str, status: int = BROKEN) -> None:
    """End the whole job at once with this rank's message."""
    sys.stderr.write(_cannot_go_on(world, text))
    sys.stderr.flush()
    world.Abort(status)


def _cannot_go_on(world: MPI.Intracomm, text: str) -> str:
    return f"phs_mpi: rank {world.Get_rank()} on {this_host()} cannot go on:\n{text}\n"


class Plan(NamedTuple):
    """What rank 0 tells the others about the run."""

    table: Table
    output: Path
    replay: list[LogEntry]
    anything: bool  # whether a parameter set is left to evaluate


class Side:
    """What a rank has while the run lasts; made and closed on all ranks together."""

    def __init__(
        self,
        world: MPI.Intracomm,
        plan: Plan,
        options: base.Options,
        progress: Progress | None = None,
    ):
        self.world = world
        self.plan = plan
        self.options = options
        self.progress = progress
        # Three communicators, so that nothing is ever matched by the wrong receive.
        self.schedule_comm, self.exchange_comm = world.Dup(), world.Dup()
        self.parallel = parallel_writes(options)
        self.store: Store | None = None
        if self.parallel and (doubt := probe.doubt(world, plan.output)):
            self.parallel = False
            if progress is not None:
                progress.say(f"rank 0 writes the results of all workers: {doubt}")
        if self.parallel:
            store_comm = world.Dup()
            self.store = together(world, lambda: open_store(plan.output, plan.table, store_comm))
        elif options.store and world.rank == 0:
            self.store = open_store(plan.output, plan.table)
        node: Any = world.Split_type(MPI.COMM_TYPE_SHARED)
        cores = os.cpu_count() or 1
        self.pause = longest_pause(node.Get_size(), cores)
        self.own_cores = node.Get_size() <= cores
        self.log = Log(plan.replay)
        self.exchange = Exchange(self.exchange_comm, self.log, plan.table.dtype)
        self.hosts: list[str] = world.gather(this_host()) or []
        self._stderr = os.dup(2)
        # A job that outlives its ranks has other ways (see ulfm.py).
        self.watch = None if ulfm.enabled() else DeathWatch(world, node, self._neighbour_died)
        node.Free()

    def abort(self, text: str = "", status: int = BROKEN) -> None:
        """End the whole job at once, with this rank's message if there is one."""
        self.leave()
        if text:
            self._say(_cannot_go_on(self.world, text))
        self.world.Abort(status)

    def leave(self) -> None:
        """Tell the neighbour that this rank ends on purpose."""
        if self.watch is not None:
            self.watch.leave()

    def a_rank_has_died(self) -> bool:
        """Whether that is why the launcher ends this one; a rank beside the dead one says so."""
        return self.watch is not None and self.watch.someone_died()

    def _say(self, text: str) -> None:
        # Not through sys.stderr: a target's output may be redirected at this moment.
        os.write(self._stderr, text.encode(errors="backslashreplace"))

    def how_to_go_on(self) -> str:
        """What the user should know when the run breaks off."""
        again = f"to go on: {base.resume_command(self.options)}"
        if not self.options.store:
            return again
        return f"all completed evaluations are in {self.plan.output}; {again}"

    def master_died(self) -> NoReturn:
        """Rank 0 is gone, of a job that outlives its ranks."""
        alive = set(range(self.world.size)) - ulfm.dead(self.world)
        if self.world.rank == min(alive):
            self._say(f"phs_mpi: rank 0 has died; {self.how_to_go_on()}\n")
            self.world.Abort(BROKEN)
        time.sleep(LAUNCHER_SECONDS)
        os._exit(BROKEN)

    def exchange_failed(self, error: BaseException) -> None:
        """The exchange cannot go on, says its thread."""
        if isinstance(error, MasterDied):
            self.master_died()
        self.abort("".join(traceback.format_exception(error)))

    def _neighbour_died(self, rank: int, pid: int) -> None:
        time.sleep(ALONE_SECONDS)
        self._say(
            f"phs_mpi: rank {rank} on {this_host()} has died (process {pid}); "
            f"{self.how_to_go_on()}\n"
        )
        self.leave()
        time.sleep(LAUNCHER_SECONDS)
        if threads_allowed():
            self.world.Abort(BROKEN)
        os._exit(BROKEN)  # this is not the thread that may call MPI

    def __enter__(self) -> Side:
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.leave()
        if error is not None:
            return  # the job is being aborted: nothing collective will ever finish
        if self.watch is not None:
            self.watch.close()
        # Whoever closes the file together with a rank that has died waits for ever.
        if self.store is not None and not (self.parallel and ulfm.enabled()):
            if self.parallel:
                meet(self.world)
            self.store.close()
        if not self.options.check_log:
            return
        if ulfm.enabled():
            self.exchange.share(0)  # whoever has died meanwhile is left out
        if not same_log_everywhere(self.exchange.comm, self.log):
            raise AssertionError("the ranks do not hold the same log")
        if self.progress is not None:
            self.progress.say(
                f"{self.exchange.comm.size} ranks hold the same log of {len(self.log)} entries"
            )

    def share(self, status: int | None = None) -> int:
        """Rank 0's exit status, on all ranks (collective)."""
        if ulfm.enabled():
            return self.exchange.share(status)
        meet(self.world)
        return self.world.bcast(status, root=0)

    def end(self, status: int) -> int:
        """End with this status, at once where MPI's own farewell may wait for the dead."""
        if ulfm.enabled() and (self.exchange.deaths or self.parallel):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        return status


def together(world: MPI.Intracomm, action):
    """Do `action` on every rank; an error on any of them becomes one error on all.

    Rank 0 raises the error of the lowest rank that has one; the others exit with the same
    status without a word.
    """
    error, value = None, None
    try:
        value = action()
    except PhsError as caught:
        error = caught
    if not any_of(world, error is not None):
        return value
    errors = world.allgather(error)
    first = next(e for e in errors if e is not None)
    if world.Get_rank() != 0:
        sys.exit(first.exit_status)
    culprit = errors.index(first)
    if culprit != 0:
        first.message = f"on rank {culprit}: {first.message}"
    raise first


def parallel_writes(options: base.Options) -> bool:
    """Whether each worker writes its own rows."""
    if not options.store or options.rank_0_writes:
        return False
    import h5py

    return bool(h5py.get_config().mpi)


def threads_allowed() -> bool:
    return MPI.Query_thread() >= MPI.THREAD_MULTIPLE
