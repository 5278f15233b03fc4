"""Every strategy and an expression in one table: explicit, grid, random, choice and Bayesian sets.

mpirun -n 4 python -m phs_mpi scripts/examples/mixed.py

`python -m phs_mpi table scripts/examples/mixed.py` shows the sets without running them. The
width is a Python expression of parameters that are declared before it.
"""

import math

import numpy as np

from phs_mpi import Bayesian, Choice, Experiment, Grid, Random, expr


def train(rate, layers, width, optimizer, dropout):
    loss = (math.log10(rate) + 2) ** 2 + abs(layers - 3) + (float(dropout) - 0.2) ** 2
    loss += 0.3 if optimizer == "sgd" else 0
    return {"result": loss, "weights": width * layers}


experiment = Experiment(
    train,
    parameters={
        "rate": float,
        "layers": int,
        "optimizer": ["adam", "sgd"],
        "width": expr,
        "dropout": np.float32,
    },
    metrics=["weights"],
    seed=4,
)
experiment.add(rate=0.1, layers=2, width="32", optimizer="adam", dropout=0.5)
experiment.add(
    rate=0.1,
    layers=Grid([1, 2, 3]),
    width="32 * layers",
    optimizer=Grid(["adam", "sgd"]),
    dropout=0.25,
)
experiment.add(
    10,
    rate=Random(1e-4, 1, log=True),
    layers=Random(1, 5),
    width="2 ** (layers + 3)",
    optimizer=Choice(["adam", "sgd"]),
    dropout=Random(0, 0.5, digits=2),
)
experiment.add(
    20,
    rate=Bayesian(1e-4, 1, log=True),
    layers=Bayesian(1, 5),
    width="64 if optimizer == 'adam' else 128",
    optimizer=Bayesian(["adam", "sgd"]),
    dropout=Bayesian(0, 0.5),
)
