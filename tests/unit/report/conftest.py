"""Results files of real runs."""

from __future__ import annotations

import pytest
from pages import QUOTES, SCRIPT
from runs import mixed_experiment, run

from phs_mpi import Choice, Experiment, Random


@pytest.fixture(scope="session")
def mixed(tmp_path_factory):
    """30 drawn and 10 Bayesian sets of five parameters of all kinds, with failures."""
    return run(mixed_experiment(), tmp_path_factory.mktemp("mixed") / "mixed.h5")


def hostile(x, text):
    if x > 0.5:
        raise ValueError(f"bad {SCRIPT} {text}")
    return {"result": x, "size": 2 * x}


@pytest.fixture(scope="session")
def attack(tmp_path_factory):
    """A file whose parameters, messages and source try to become part of the page."""
    experiment = Experiment(
        hostile, {"x": float, "text": str}, name=SCRIPT, metrics=["size"], capture=False
    )
    experiment.source = f"# {SCRIPT}\n# $title ${{path}} </script>"
    experiment.add(12, x=Random(0, 1), text=Choice([SCRIPT, QUOTES]))
    return run(experiment, tmp_path_factory.mktemp("attack") / "attack<b>.h5")
