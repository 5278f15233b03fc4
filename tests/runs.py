"""Results files of real runs."""

from __future__ import annotations

import math

import phs_mpi
from phs_mpi import Bayesian, Choice, Experiment, Random
from phs_mpi.store import read

OPTIMIZERS = ["adam", "sgd", "$x$"]


def train(rate, layers, batch, optimizer, idle):
    """Rate matters most, idle not at all; one corner fails."""
    if rate > 0.3:
        raise ValueError("diverged")
    return (math.log10(rate) + 2) ** 2 + 0.1 * abs(layers - 3) + 0.2 * OPTIMIZERS.index(optimizer)


def mixed_experiment(drawn=30, searched=10, **options):
    experiment = Experiment(
        train,
        {"rate": float, "layers": int, "batch": [64, 16, 32], "optimizer": str, "idle": float},
        capture=False,
        **options,
    )
    experiment.add(
        drawn,
        rate=Random(1e-4, 1, log=True),
        layers=Random(1, 6),
        batch=Choice([64, 16, 32]),
        optimizer=Choice(OPTIMIZERS),
        idle=Random(0, 1),
    )
    if searched:
        experiment.add(
            searched,
            rate=Bayesian(1e-4, 1, log=True),
            layers=Bayesian(1, 6),
            batch=Bayesian([64, 16, 32]),
            optimizer=Bayesian(OPTIMIZERS),
            idle=0.5,
        )
    return experiment


def run(experiment, path, **options):
    """Run in this process; returns the snapshot."""
    return read(phs_mpi.run(experiment, backend="serial", output=path, quiet=True, **options).path)
