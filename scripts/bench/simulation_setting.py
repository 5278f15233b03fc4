"""What a simulated run is given: what steps cost, and how large it is (see simulation.py)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from phs_mpi.backends.mpi import messages
from phs_mpi.backends.mpi.waiting import longest_pause


@dataclass(frozen=True)
class Costs:
    """Seconds that steps take; measured by costs.py.

    Attributes
    ----------
    latency
        One way of a short message.
    serve
        Rank 0: receive, decide and answer one message.
    announce, destination, entry
        Rank 0: one broadcast, for each rank that it sends to, for each entry in it.
    byte
        For each byte to each rank: a network of 10 GB/s.
    take, take_entry
        A worker: one broadcast, for each entry in it.
    commit
        A worker, writing a row.
    between
        A worker, from the end of an evaluation to the start of the next, all included, where rank 0
        is idle.
    between_ahead
        The same where it has the next one already.
    propose
        A worker, choosing the values of a Bayesian set.
    """

    latency: float = 5e-6
    serve: float = 2e-5
    announce: float = 5e-5
    destination: float = 1e-6
    entry: float = 2e-6
    byte: float = 1e-10
    take: float = 2e-5
    take_entry: float = 1e-6
    commit: float = 2e-4
    between: float = 1e-3
    between_ahead: float = 4e-4
    propose: float = 0.03

    @classmethod
    def read(cls, path: Path) -> Costs:
        """From what ``run.py costs --json`` wrote."""
        figures = json.loads(path.read_text())["benches"]["costs"]["figures"]
        found = {
            "latency": figures["latency"],
            "serve": figures["serve"],
            "announce": figures["announce"],
            "destination": figures["announce, destination"],
            "entry": figures["announce, entry"],
            "take": figures["take"],
            "take_entry": figures["take, entry"],
            "commit": figures["commit"],
            "between": figures["between evaluations"],
            "between_ahead": figures["between evaluations, one ahead"],
        }
        return cls(**found)


@dataclass(frozen=True)
class Setting:
    """One run.

    Attributes
    ----------
    workers, evaluations : int
        So many.
    mean : float
        Seconds of an evaluation; log-normal.
    searched : float
        Share of Bayesian sets, after the drawn ones.
    algorithm : {"linear", "binomial", "nodes"}
        How a broadcast travels: from rank 0 to each rank; in a tree of ranks; from rank 0 to one
        rank of each node that does nothing else, and from there to the others of the node.
    node : int
        Ranks of a node.
    cores : int
        Cores of a node.
    seconds : float or None
        Least time between two broadcasts; None: as the product has it.
    batch : int
        Most entries of a broadcast.
    paced : bool
        Whether the time between two broadcasts grows with what one takes rank 0.
    ahead : bool
        Whether workers have a set ahead where the product gives them one.
    """

    workers: int
    evaluations: int
    mean: float
    searched: float = 0.0
    algorithm: str = "linear"
    node: int = 64
    cores: int = 64
    seconds: float | None = None
    batch: int = messages.BATCH_ENTRIES
    paced: bool = True
    ahead: bool = True

    @property
    def ranks(self) -> int:
        """Workers, and rank 0."""
        return self.workers + 1

    @property
    def pause(self) -> float:
        """Seconds between two looks of a worker's thread, at most."""
        return longest_pause(min(self.node, self.ranks), self.cores)
