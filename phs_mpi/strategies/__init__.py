"""Strategies: how one parameter of a parameter set gets its value.

A user makes them without saying for which parameter (``Random(-5, 5)``); :meth:`Strategy.bind`
checks the options against the parameter's type. All errors are raised there, so that they name
the parameter.
"""

from phs_mpi.strategies.base import Strategy
from phs_mpi.strategies.bayesian import Bayesian
from phs_mpi.strategies.listed import Choice, Explicit, Grid
from phs_mpi.strategies.random import Random

__all__ = ["Bayesian", "Choice", "Explicit", "Grid", "Random", "Strategy"]
