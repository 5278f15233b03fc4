"""Made-up evaluations, to fill results files with."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from phs_mpi.experiment import Experiment
from phs_mpi.log import EntryKind, Outcome, Proposal, Source, Status
from phs_mpi.store import open_store, prepare
from phs_mpi.strategies import Bayesian, Choice, Random

PROVENANCE = {"command": "phs_mpi experiment.py", "mpi_library": "none"}
SOURCE = "experiment = ...  # ä\n"


def griewank(x, y, kind="a"):
    return (x * x + y * y) / 4000 - math.cos(x) * math.cos(y / math.sqrt(2)) + 1


def make_experiment(drawn=12, searched=8, *, low=-5, kinds=("a", "bb"), seed=7, **options):
    """Two groups of sets of a float, another and a text."""
    experiment = Experiment(griewank, {"x": float, "y": float, "kind": str}, seed=seed, **options)
    experiment.add(drawn, x=Random(low, 5), y=Random(-5, 5), kind=Choice(list(kinds)))
    if searched:
        experiment.add(searched, x=Bayesian(-5, 5), y=Bayesian(-5, 5), kind="ä")
    return experiment


def make_proposal(table, index):
    """Values of a set, those of a search made up."""
    values = table.defined(index)
    names = table.bayesian(index)
    generator = np.random.default_rng([3, index])
    values |= {name: float(generator.uniform(-5, 5)) for name in names}
    values = {name: values[name] for name in table.types}
    if not names:
        return Proposal(index, values, table.source(index))
    return Proposal(index, values, Source.BAYESIAN, index, 0.5, 0.25, -1.5)


def _result(proposal):
    return griewank(**proposal.values) if "y" in proposal.values else 0.0


def make_outcome(proposal, status=Status.DONE, workers=3, **fields):
    """What became of it."""
    index = proposal.index
    done = status == Status.DONE
    given = {
        "result": _result(proposal) if done else math.nan,
        "error": "" if done else f"ValueError: no good: {index}",
        "traceback": "" if done else f"Traceback: line {index}\nValueError",
        "start": 1000.0 + index // workers,
        "end": 1000.75 + index // workers,
        "proposing": 0.05,
        "waiting": 0.2,
        "exchanging": 0.01,
        "worker": 1 + index % workers,
        "host": "node-1",
    }
    return Outcome(index, status, **(given | fields))


def resume(path: Path, experiment: Experiment, **options):
    """Prepare the file for this experiment."""
    return prepare(path, experiment.table(), experiment.describe(), SOURCE, PROVENANCE, **options)


def evaluate(path: Path, experiment: Experiment, indices: Iterable[int], failed=()):
    """Write rows and log as a run would; returns proposals and outcomes."""
    table = experiment.table()
    written = {}
    with open_store(path, table) as store:
        for index in indices:
            proposal = make_proposal(table, index)
            status = Status.FAILED if index in failed else Status.DONE
            outcome = make_outcome(proposal, status)
            store.append_log([EntryKind.STARTED], [index])
            store.commit(proposal, outcome)
            store.append_log([EntryKind.COMPLETED], [index])
            written[index] = proposal, outcome
    return written
