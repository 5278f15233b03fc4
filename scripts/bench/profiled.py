"""A profile of one rank's main thread, by processor time; loaded by what profiles.py runs.

The profiler is the standard library's. What it costs by itself is several times what a short
function takes; it is measured on functions that do nothing, and subtracted: so much from the
function that is called, so much from the one that calls it.

    mpirun -n 2 python scripts/bench/profiled.py FILE ROWS

is a program for rows alone: all ranks commit them to an empty results file of store.py.
"""

from __future__ import annotations

import atexit
import cProfile
import functools
import json
import os
import sys
import threading
import time
from pathlib import Path

CALLS = 10_000


def new_profile() -> cProfile.Profile:
    """One that leaves time in C with the Python function that has called it."""
    return cProfile.Profile(time.thread_time, builtins=False)


def own_costs() -> tuple[float, float]:
    """Seconds that the profiler adds to a function for its call, and to its caller."""

    def nothing() -> None:
        pass

    def many() -> None:
        for _ in range(CALLS):
            nothing()

    found = []
    for _ in range(5):
        begun = time.thread_time()
        many()
        plain = time.thread_time() - begun
        profile = new_profile()
        profile.runcall(many)
        seconds = {entry.code.co_name: entry.inlinetime for entry in profile.getstats()}
        found.append([(seconds[name] - plain / 2) / CALLS for name in ("nothing", "many")])
    called, caller = (max(min(costs), 0.0) for costs in zip(*found, strict=True))
    return called, caller


def functions(profile: cProfile.Profile, costs: tuple[float, float]) -> list[list]:
    """File, name, calls, seconds by itself and with all that it called (as it was profiled)."""
    found = []
    for entry in profile.getstats():
        calls = sum(inner.callcount for inner in entry.calls or ())
        own = entry.inlinetime - entry.callcount * costs[0] - calls * costs[1]
        code = entry.code
        found.append(
            [code.co_filename, code.co_name, entry.callcount, max(own, 0.0), entry.totaltime]
        )
    return found


def tell(profile: cProfile.Profile, costs: tuple[float, float], path: Path, **more: float) -> None:
    """Write what was found, for profiles.py."""
    path.write_text(json.dumps(more | {"functions": functions(profile, costs)}))


def watch(profiled: bool) -> None:
    """Profile the loop of this rank, or take only its processor time; for an experiment's file."""
    from phs_mpi.backends.mpi.master import Master
    from phs_mpi.backends.mpi.worker_side import WorkerLoop
    from phs_mpi.worker import Worker

    folder, rank = os.getcwd(), os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMI_RANK"))
    profile, costs = new_profile(), own_costs()
    spent = {"seconds": 0.0, "importing": 0.0, "announcing": 0.0}
    plain_propose, plain_waiting = Worker.propose, WorkerLoop._let_others_announce

    def run(self, plain):
        begun = time.thread_time()
        try:
            return profile.runcall(plain, self) if profiled else plain(self)
        finally:
            spent["seconds"] += time.thread_time() - begun

    def propose(self, index, log, length):
        if "phs_mpi.search.model" not in sys.modules:
            # In a thread, where it is not profiled: that would take longer than the import.
            thread = threading.Thread(target=import_search)
            thread.start()
            thread.join()
        return plain_propose(self, index, log, length)

    def wait_for_others(self, *given):
        begun = time.perf_counter()
        plain_waiting(self, *given)
        spent["announcing"] += time.perf_counter() - begun

    def import_search() -> None:
        begun = time.thread_time()
        import phs_mpi.search.history
        import phs_mpi.search.model  # noqa: F401

        spent["importing"] = time.thread_time() - begun

    Master.run = functools.partialmethod(run, Master.run)
    WorkerLoop.run = functools.partialmethod(run, WorkerLoop.run)
    Worker.propose, WorkerLoop._let_others_announce = propose, wait_for_others
    atexit.register(lambda: tell(profile, costs, Path(folder, f"told.{rank}"), **spent))


def commit_rows(path: str, rows: int) -> None:
    """Each rank commits its share of the rows, first without and then with the profiler."""
    from mpi4py import MPI
    from store import experiment_of

    from phs_mpi.log import Outcome, Proposal, Status
    from phs_mpi.store import open_store

    comm = MPI.COMM_WORLD
    rank, size = comm.Get_rank(), comm.Get_size()
    table = experiment_of(rows).table()
    mine = range(rank, rows, size)
    proposals = [Proposal(i, table.defined(i), table.source(i)) for i in mine]
    outcomes = [Outcome(i, Status.DONE, result=0.5, worker=rank, host="node-1") for i in mine]
    profile, costs = new_profile(), own_costs()

    def commit_all() -> float:
        begun = time.thread_time()
        for proposal, outcome in zip(proposals, outcomes, strict=True):
            store.commit(proposal, outcome)
        return time.thread_time() - begun

    store = open_store(path, table, comm if size > 1 else None)
    comm.Barrier()
    seconds = commit_all()
    profile.runcall(commit_all)
    comm.Barrier()
    store.close()
    tell(profile, costs, Path(path).parent / f"told.{rank}", seconds=seconds)


if __name__ == "__main__":
    commit_rows(sys.argv[1], int(sys.argv[2]))
