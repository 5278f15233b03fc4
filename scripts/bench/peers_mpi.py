"""Other tools that evaluate a function on MPI workers, on the evaluations that ours is measured on.

    mpirun -n 4 python scripts/bench/peers_mpi.py schwimmbad 6000 [--mean 0.05]

Evaluations that do nothing, or sleep as long as durations.py says. Prints the seconds from the
first to the last of them, without the start of the program. Each tool only if it is installed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time

from durations import duration


class Target:
    """A target that sleeps as long as its index has it."""

    def __init__(self, mean: float):
        self.mean = mean

    def __call__(self, index: int) -> int:
        if self.mean:
            time.sleep(duration(int(index), self.mean))
        return index

    def of_job(self, job) -> float:
        """As DeepHyper calls it; jobs are numbered after a dot."""
        self(int(job.id.split(".")[-1]))
        return job.parameters["x"]


def futures(target: Target, count: int) -> float | None:
    """mpi4py.futures, the next call when one comes back; run with ``-m mpi4py.futures``."""
    from concurrent.futures import FIRST_COMPLETED, wait

    from mpi4py import MPI
    from mpi4py.futures import MPIPoolExecutor

    workers = MPI.COMM_WORLD.Get_size() - 1
    with MPIPoolExecutor(workers) as executor:
        list(executor.map(Target(0), range(100)))
        begun = time.perf_counter()
        left = iter(range(count))
        running = {executor.submit(target, n) for _, n in zip(range(workers), left, strict=False)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {executor.submit(target, n) for _, n in zip(done, left, strict=False)}
        return time.perf_counter() - begun


def schwimmbad(target: Target, count: int) -> float | None:
    """Its MPIPool; workers never leave the constructor's `wait`."""
    from schwimmbad import MPIPool

    pool = MPIPool()
    if not pool.is_master():
        pool.wait()
        return None
    pool.map(Target(0), range(100))
    begun = time.perf_counter()
    pool.map(target, list(range(count)))
    seconds = time.perf_counter() - begun
    pool.close()
    return seconds


def libensemble(target: Target, count: int) -> float | None:
    """Manager and workers, sets given out one by one; it keeps its history in memory."""
    import numpy as np
    from libensemble.alloc_funcs.give_pregenerated_work import give_pregenerated_sim_work
    from libensemble.libE import libE
    from mpi4py import MPI

    def simulate(history, persis_info, sim_specs, libE_info):
        found = np.zeros(1, sim_specs["out"])
        found["f"] = target(int(history["x"][0, 0]))
        return found, persis_info

    given = [("x", float, (1,)), ("sim_id", int), ("sim_started", bool), ("sim_ended", bool)]
    start = np.zeros(count, given)
    start["x"][:, 0] = start["sim_id"] = np.arange(count)
    os.chdir(tempfile.mkdtemp())
    comm = MPI.COMM_WORLD
    comm.Barrier()
    begun = time.perf_counter()
    libE(
        {"sim_f": simulate, "in": ["x"], "out": [("f", float)]},
        {},
        {"sim_max": count},
        alloc_specs={"alloc_f": give_pregenerated_sim_work, "out": []},
        libE_specs={
            "comms": "mpi",
            "mpi_comm": comm,
            "disable_log_files": True,
            "safe_mode": False,
            "save_H_and_persis_on_abort": False,
        },
        H0=start,
    )
    return time.perf_counter() - begun if comm.Get_rank() == 0 else None


def propulate(target: Target, count: int) -> float | None:
    """Its genetic algorithm; every rank evaluates, and one of them dumps all to a file in turn."""
    import random
    from pathlib import Path

    from mpi4py import MPI
    from propulate import Propulator
    from propulate.utils import get_default_propagator

    comm = MPI.COMM_WORLD
    turn = iter(range(comm.Get_rank(), count, comm.Get_size()))

    def loss(individual):
        target(next(turn))
        return individual["x"]

    generator = random.Random(comm.Get_rank())
    limits = {"x": (0.0, 1.0)}
    optimiser = Propulator(
        loss_fn=loss,
        propagator=get_default_propagator(pop_size=8, limits=limits, rng=generator),
        rng=generator,
        generations=count // comm.Get_size(),
        checkpoint_path=Path(comm.bcast(tempfile.mkdtemp())),
    )
    comm.Barrier()
    begun = time.perf_counter()
    optimiser.propulate(logging_interval=count, debug=0)
    return time.perf_counter() - begun if comm.Get_rank() == 0 else None


def deephyper(target: Target, count: int) -> float | None:
    """Its random search with its MPI evaluator; it dumps the results to a file."""
    from deephyper.evaluator import Evaluator
    from deephyper.hpo import HpProblem, RandomSearch

    problem = HpProblem()
    problem.add_hyperparameter((0.0, 1.0), "x")
    with Evaluator.create(target.of_job, method="mpicomm") as evaluator:
        if not evaluator.is_master:
            return None
        search = RandomSearch(problem, log_dir=tempfile.mkdtemp(), random_state=1)
        begun = time.perf_counter()
        search.search(evaluator, max_evals=count)
        return time.perf_counter() - begun


PEERS = {
    "futures": futures,
    "schwimmbad": schwimmbad,
    "libensemble": libensemble,
    "propulate": propulate,
    "deephyper": deephyper,
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("peer", choices=PEERS)
    options.add_argument("count", type=int)
    options.add_argument("--mean", type=float, default=0.0, help="seconds of an evaluation")
    given = options.parse_args()
    seconds = PEERS[given.peer](Target(given.mean), given.count)
    if seconds is not None:
        print(f"took {seconds}")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
