"""Results files of real runs, made once for all tests of figures."""

from __future__ import annotations

import pytest
from runs import mixed_experiment, run

from phs_mpi import Choice, Experiment


@pytest.fixture(scope="session")
def mixed(tmp_path_factory):
    """30 drawn and 10 Bayesian sets of five parameters of all kinds, with failures."""
    snapshot = run(mixed_experiment(), tmp_path_factory.mktemp("mixed") / "mixed.h5")
    assert (snapshot.finished & ~snapshot.done).any()
    return snapshot


@pytest.fixture
def evaluated(tmp_path):
    """Evaluate a target at random sets of these parameters; returns the snapshot."""

    def evaluated(target, count=8, name="a", **strategies):
        types = {
            n: type(s.values[0]) if isinstance(s, Choice) else float for n, s in strategies.items()
        }
        experiment = Experiment(target, types, capture=False, duplicates=True)
        experiment.add(count, **strategies)
        return run(experiment, tmp_path / f"{name}.h5")

    return evaluated
