"""Which classifier, and with what settings: scikit-learn on data that comes with it.

mpirun -n 4 python -m phs_mpi scripts/examples/model_selection.py

Parameters of mixed types, one of which decides what the others mean. A cross-validation depends on
how the data are split, so each set is evaluated three times, each time with splits of its own; the
search sees the mean and how uncertain it is.
"""

from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import phs_mpi
from phs_mpi import Bayesian, Choice, Experiment, Random

MODELS = ["logistic", "svc", "forest"]
DATA = load_wine(return_X_y=True)


def error(model, scale, strength, width, depth):
    seed = phs_mpi.current().seed % 2**32  # another one for each repeat
    classifier = {
        "logistic": lambda: LogisticRegression(C=strength, max_iter=2000),
        "svc": lambda: SVC(C=strength, gamma=width),
        "forest": lambda: RandomForestClassifier(20, max_depth=depth, random_state=seed),
    }[model]()
    pipeline = make_pipeline(StandardScaler(), classifier) if scale else classifier
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    accuracy = cross_val_score(pipeline, *DATA, cv=folds)
    return {"result": 1 - accuracy.mean(), "worst_fold": 1 - accuracy.min()}


experiment = Experiment(
    error,
    parameters={"model": MODELS, "scale": bool, "strength": float, "width": float, "depth": int},
    metrics=["worst_fold"],
    repeats=3,
    seed=5,
)
experiment.add(
    12,
    model=Choice(MODELS),
    scale=Choice([False, True]),
    strength=Random(1e-2, 1e2, log=True),
    width=Random(1e-4, 1, log=True),
    depth=Random(1, 8),
)
experiment.add(
    12,
    model=Bayesian(MODELS),
    scale=Bayesian(),
    strength=Bayesian(1e-2, 1e2, log=True),
    width=Bayesian(1e-4, 1, log=True),
    depth=Bayesian(1, 8),
)
