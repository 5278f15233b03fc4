"""Parallel hyperparameter search with MPI.

A user's file needs one import line::

    from phs_mpi import Experiment, Bayesian, Choice, Random

Names are loaded when first used, so that ``import phs_mpi`` costs next to nothing on each of
many ranks.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phs_mpi.errors import PhsError
    from phs_mpi.evaluation import current
    from phs_mpi.experiment import Experiment
    from phs_mpi.frames import read
    from phs_mpi.parameters import expr
    from phs_mpi.running import run
    from phs_mpi.strategies import Bayesian, Choice, Grid, Random

__version__ = "0.1.0"

__all__ = [
    "Bayesian",
    "Choice",
    "Experiment",
    "Grid",
    "PhsError",
    "Random",
    "current",
    "expr",
    "read",
    "run",
]

_HOME = {
    "Bayesian": "phs_mpi.strategies",
    "Choice": "phs_mpi.strategies",
    "Experiment": "phs_mpi.experiment",
    "Grid": "phs_mpi.strategies",
    "PhsError": "phs_mpi.errors",
    "Random": "phs_mpi.strategies",
    "current": "phs_mpi.evaluation",
    "expr": "phs_mpi.parameters",
    "read": "phs_mpi.frames",
    "run": "phs_mpi.running",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'phs_mpi' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
