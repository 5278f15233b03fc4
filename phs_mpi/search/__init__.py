"""Bayesian search: surrogate, acquisition function, proposals."""

from phs_mpi.search.proposal import Engine, SpaceExhausted, Suggestion, propose
from phs_mpi.search.proposer import Proposer

__all__ = ["Engine", "Proposer", "SpaceExhausted", "Suggestion", "propose"]
