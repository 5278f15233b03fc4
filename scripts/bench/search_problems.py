"""What searches are compared on: test functions with shifted optima, and real tuning problems."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from phs_mpi.encoding import Dimension, Space

HARTMANN_A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
HARTMANN_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def griewank(x):
    root = np.sqrt(np.arange(1, len(x) + 1))
    return x @ x / 4000 - np.prod(np.cos(x / root)) + 1


def branin(x):
    a, b = x
    valley = b - 5.1 / (4 * math.pi**2) * a * a + 5 / math.pi * a - 6
    return valley**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10 - 0.39788735772973816


def hartmann6(x):
    exponents = np.sum(HARTMANN_A * (x - HARTMANN_P) ** 2, axis=1)
    return 3.32236801141551 - np.array([1, 1.2, 3, 3.2]) @ np.exp(-exponents)


def ackley(x):
    spread, waves = np.sqrt(np.mean(x * x)), np.mean(np.cos(2 * math.pi * x))
    return -20 * np.exp(-0.2 * spread) - np.exp(waves) + 20 + math.e


def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def levy(x):
    w = 1 + (x - 1) / 4
    middle = (w[:-1] - 1) ** 2 * (1 + 10 * np.sin(math.pi * w[:-1] + 1) ** 2)
    last = (w[-1] - 1) ** 2 * (1 + np.sin(2 * math.pi * w[-1]) ** 2)
    return np.sin(math.pi * w[0]) ** 2 + middle.sum() + last


#: Function, lower and upper bounds; all have a minimum of 0.
PROBLEMS: dict[str, tuple[Callable, list, list]] = {
    "griewank2": (griewank, [-5] * 2, [5] * 2),
    "branin": (branin, [-5, 0], [10, 15]),
    "hartmann6": (hartmann6, [0] * 6, [1] * 6),
    "ackley5": (ackley, [-5] * 5, [5] * 5),
    "ackley10": (ackley, [-5] * 10, [5] * 10),
    "rosenbrock4": (rosenbrock, [-5] * 4, [10] * 4),
    "levy8": (levy, [-10] * 8, [10] * 8),
}

#: Tuning problems on data that scikit-learn ships; the result is what cross-validation finds: the
#: error, of mlp-digits the log loss.
TUNING = ("svc-digits", "boosting-cancer", "mlp-digits")


def problem(name: str, seed: int) -> tuple[Space, Callable[[dict], float]]:
    """A space, and what to minimise over it.

    The optimum of a test function is shifted by a random vector of up to a tenth of the bounds in
    each dimension, so that no search profits from where it likes to look; the minimum stays 0.
    """
    if name in TUNING:
        return tuning(name)
    function, low, high = PROBLEMS[name]
    width = np.subtract(high, low)
    shift = np.random.default_rng([seed, 5]).uniform(-0.1, 0.1, len(low)) * width
    bounds = enumerate(zip(low, high, strict=True))
    space = Space([Dimension(f"x{k}", low=a, high=b) for k, (a, b) in bounds])
    return space, lambda values: float(function(np.array(list(values.values())) - shift))


@cache
def tuning(name: str) -> tuple[Space, Callable[[dict], float]]:
    """Five to seven parameters of mixed types; results are remembered for the whole process."""
    space, X, y, build, scoring, best = _tuned(name)
    from sklearn.model_selection import cross_val_score

    known: dict[tuple, float] = {}

    def found(values: dict) -> float:
        key = tuple(values.values())
        if key not in known:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # few steps: it has seldom converged
                score = cross_val_score(build(**values), X, y, cv=3, scoring=scoring).mean()
            known[key] = best - float(score)
        return known[key]

    return space, found


def _tuned(name: str) -> tuple[Space, Any, Any, Callable[..., Any], str, float]:
    """Space, data, what makes a model, its score, and the best score there can be."""
    from sklearn.datasets import load_breast_cancer, load_digits
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import SVC

    if name == "svc-digits":
        X, y = load_digits(return_X_y=True)
        space = Space(
            [
                Dimension("C", low=1e-3, high=1e3, log=True),
                Dimension("gamma", low=1e-5, high=10, log=True),
                Dimension("kernel", kind="categorical", categories=("rbf", "poly", "sigmoid")),
                Dimension("degree", low=2, high=5, integer=True),
                Dimension("coef0", low=-1, high=1),
            ]
        )
        return space, X[:600] / 16, y[:600], SVC, "accuracy", 1.0
    if name == "boosting-cancer":
        X, y = load_breast_cancer(return_X_y=True)
        space = Space(
            [
                Dimension("learning_rate", low=1e-3, high=1, log=True),
                Dimension("n_estimators", low=5, high=60, integer=True),
                Dimension("max_depth", low=1, high=6, integer=True),
                Dimension("subsample", low=0.3, high=1),
                Dimension("max_features", kind="categorical", categories=("sqrt", "log2", "all")),
                Dimension("min_samples_leaf", low=1, high=30, integer=True),
            ]
        )

        def boosting(max_features: str, **options: Any) -> Any:
            features = None if max_features == "all" else max_features
            return GradientBoostingClassifier(max_features=features, random_state=0, **options)

        return space, X, y, boosting, "accuracy", 1.0
    X, y = load_digits(return_X_y=True)
    space = Space(
        [
            Dimension("width", low=8, high=128, integer=True, log=True),
            Dimension("layers", low=1, high=2, integer=True),
            Dimension("activation", kind="categorical", categories=("relu", "tanh", "logistic")),
            Dimension("learning_rate_init", low=1e-4, high=0.3, log=True),
            Dimension("alpha", low=1e-5, high=10, log=True),
            Dimension("batch_size", low=16, high=256, integer=True, log=True),
            Dimension("beta_1", low=0, high=0.99),
        ]
    )

    def perceptron(width: int, layers: int, **options: Any) -> Any:
        return MLPClassifier((width,) * layers, max_iter=15, random_state=0, **options)

    return space, X[:360] / 16, y[:360], perceptron, "neg_log_loss", 0.0
