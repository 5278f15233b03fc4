"""A mock training with eight parameters of all kinds, in which some sets fail.

mpirun -n 4 python -m phs_mpi scripts/examples/training.py

The loss is a formula, so that a run takes minutes and not weeks; the rest is as in earnest: the
learning rate matters most, its best value depends on the optimiser, some parameters hardly matter,
high rates diverge, large models run out of memory, and a deeper model takes longer.
"""

import math
import random
import time

import phs_mpi
from phs_mpi import Bayesian, Choice, Experiment, Random

OPTIMIZERS = ["adam", "sgd", "rmsprop"]
BEST_RATE = {"adam": 1e-3, "sgd": 5e-2, "rmsprop": 5e-4}


def train(rate, decay, dropout, layers, width, batch, optimizer, augment):
    noise = random.Random(phs_mpi.current().seed)
    time.sleep(0.06 * layers * noise.uniform(0.5, 1.5))
    if layers * width**2 > 3e6:
        raise MemoryError(f"{layers} layers of {width} units do not fit")
    decades = math.log10(rate / BEST_RATE[optimizer])
    if decades > 1.5:
        raise FloatingPointError(f"the loss is not finite after a rate of {rate:.3g}")
    loss = 0.25 + 0.22 * decades**2
    loss += 0.04 * (math.log10(decay) + 4) ** 2
    loss += 0.5 * (dropout - 0.2) ** 2
    loss += 0.03 * (layers - 5) ** 2 / 4 + 0.05 * (math.log2(width) - 8) ** 2
    loss += 0.02 * abs(math.log2(batch) - 6)
    loss += {"adam": 0.0, "sgd": 0.03, "rmsprop": 0.08}[optimizer]
    loss -= 0.06 if augment else 0.0
    return {"result": loss * noise.gauss(1, 0.02), "units": layers * width}


experiment = Experiment(
    train,
    parameters={
        "rate": float,
        "decay": float,
        "dropout": float,
        "layers": int,
        "width": int,
        "batch": [16, 32, 64, 128, 256],
        "optimizer": OPTIMIZERS,
        "augment": bool,
    },
    metrics=["units"],
    seed=11,
)
experiment.add(
    200,
    rate=Random(1e-5, 1, log=True),
    decay=Random(1e-6, 1e-2, log=True),
    dropout=Random(0, 0.6),
    layers=Random(1, 12),
    width=Random(16, 1024, log=True),
    batch=Choice([16, 32, 64, 128, 256]),
    optimizer=Choice(OPTIMIZERS),
    augment=Choice([False, True]),
)
experiment.add(
    300,
    rate=Bayesian(1e-5, 1, log=True),
    decay=Bayesian(1e-6, 1e-2, log=True),
    dropout=Bayesian(0, 0.6),
    layers=Bayesian(1, 12),
    width=Bayesian(16, 1024, log=True),
    batch=Bayesian([16, 32, 64, 128, 256], ordered=True),
    optimizer=Bayesian(OPTIMIZERS),
    augment=Bayesian([False, True]),
)
