"""How many threads the libraries of a worker start: as many as it has cores.

Linear algebra and OpenMP start a thread for each core of the machine, in each of the workers that
share it, unless they are told. What the user has said in the environment is left alone.

This module imports nothing but the standard library: it is used before NumPy is loaded, which
reads the variables once.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping, Sequence
from functools import partial
from typing import NamedTuple

#: What libraries read; the first is the one that OpenBLAS and MKL obey as well.
OMP = "OMP_NUM_THREADS"
VARIABLES = (OMP, "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

#: Variables in which launchers say how many of their ranks are on this node.
LOCAL_SIZES = ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS")


class Cores(NamedTuple):
    """The cores that a process may use.

    Attributes
    ----------
    bound : frozenset of int
        Those that the system schedules it on.
    allotted : int or None
        Those that SLURM has given the job on this node, for all its tasks there; SLURM need not
        bind anything.
    per_task : int or None
        Those that SLURM was asked for a task (``--cpus-per-task``).
    """

    bound: frozenset[int]
    allotted: int | None = None
    per_task: int | None = None

    @classmethod
    def of_this_process(cls, environ: Mapping[str, str] = os.environ) -> Cores:
        """What the system and SLURM say."""
        bound = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
        return cls(
            frozenset(range(os.cpu_count() or 1) if bound is None else bound),
            _number(environ, "SLURM_CPUS_ON_NODE"),
            _number(environ, "SLURM_CPUS_PER_TASK"),
        )

    def shared_by(self, workers: int) -> int:
        """Threads for each of so many workers, 1 or more.

        SLURM's numbers are upper bounds: a batch step has those of the whole job, of which
        ``mpirun`` may start more ranks than SLURM was told of.
        """
        cores = min(len(self.bound), self.allotted or len(self.bound))
        return max(1, min(cores // workers, self.per_task or cores))


def of_each(cores: Sequence[Cores]) -> list[int]:
    """Threads of each worker of one node; those that are bound to cores of their own share none."""
    return [
        own.shared_by(sum(not own.bound.isdisjoint(other.bound) for other in cores))
        for own in cores
    ]


def local_ranks(environ: Mapping[str, str]) -> int | None:
    """Ranks on this node, as far as the launcher says; None without a launcher."""
    for name in LOCAL_SIZES:
        if number := _number(environ, name):
            return number
    # As in 8(x3),7: three nodes of 8 tasks, and one of 7.
    node = environ.get("SLURM_NODEID", "")
    parts = re.findall(r"(\d+)(?:\(x(\d+)\))?", environ.get("SLURM_STEP_TASKS_PER_NODE", ""))
    tasks = [int(size) for size, times in parts for _ in range(int(times or 1))]
    return tasks[int(node)] if node.isdigit() and int(node) < len(tasks) else None


def before_numpy(environ: MutableMapping[str, str] = os.environ) -> None:
    """Set the variables of a rank from what its launcher says, for libraries loaded from now on.

    Rank 0 and cores that ranks are bound to are not known yet: a worker may have more threads,
    not fewer, once they are (see :mod:`phs_mpi.backends.placement`).
    """
    ranks = local_ranks(environ)
    if ranks is not None and ranks > 1:
        set_variables(Cores.of_this_process(environ).shared_by(ranks), environ)


# Values that were set here: a user's own is left alone.
_ours: dict[str, str] = {}


def left_to_us(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the user has left the number to us: most libraries obey OpenMP's variable too."""
    return OMP not in environ or environ[OMP] == _ours.get(OMP)


def set_variables(threads: int, environ: MutableMapping[str, str] = os.environ) -> list[str]:
    """Set those variables that the user has not; returns the names of those that changed."""
    changed: list[str] = []
    value = str(threads)
    if not left_to_us(environ):
        return changed
    for name in VARIABLES:
        now = environ.get(name)
        if now is None or now == _ours.get(name):
            environ[name] = _ours[name] = value
            if now != value:
                changed.append(name)
    return changed


def limit_loaded(names: Collection[str], threads: int) -> Iterator[Callable[[], None]]:
    """Tell libraries that are loaded already, and have read these variables.

    Yields what undoes it for each of them.
    """
    if not names or "numpy" not in sys.modules:
        return
    from threadpoolctl import ThreadpoolController

    variables = {"mkl": VARIABLES[1], "openblas": VARIABLES[2]}
    for library in ThreadpoolController().lib_controllers:
        before = library.num_threads
        if variables.get(library.internal_api, OMP) in names and before != threads:
            library.set_num_threads(threads)
            yield partial(library.set_num_threads, before)


def _number(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "")
    return int(text) if text.isdigit() and int(text) > 0 else None
