"""The examples run as they stand, and find what is to be found."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from phs_mpi.log import Source, Status

EXAMPLES = Path(__file__).resolve().parent.parent / "scripts" / "examples"

pytestmark = pytest.mark.slow


@pytest.fixture
def example(launch):
    """Runs an example on three ranks; returns what it said and its rows."""

    def run(name):
        done = launch.phs(3, EXAMPLES / f"{name}.py", "-o", "out.h5")
        assert done.returncode == 0, done.stdout + done.stderr
        with h5py.File(launch.folder / "out.h5", locking=False) as file:
            rows = file["evaluations"][...]
        assert (rows["status"] == Status.DONE).all()
        assert (rows["source"] == Source.BAYESIAN).any()
        return done, rows

    return run


def test_griewank(example):
    _, rows = example("griewank")
    assert rows["result"].min() < 0.1


def test_mixed_strategies(example):
    done, rows = example("mixed")
    best = rows[np.argmin(rows["result"])]
    assert best["result"] < 0.1
    assert best["values"]["layers"] == 3
    assert best["metrics"]["weights"] == 3 * 64  # the expression's value is what the target got
    assert "width = 64 if optimizer == 'adam' else 128" in done.stdout


def test_the_forest_of_the_gallery(example):
    _, rows = example("griewank30_forest")
    assert rows["result"].min() < 1


def test_training_up_to_a_time_limit(launch):
    # The whole of it takes a minute or two.
    done = launch.phs(
        12, EXAMPLES / "training.py", "-o", "out.h5", "--walltime", "15", "--margin", "3"
    )
    assert done.returncode == 3, done.stdout + done.stderr
    with h5py.File(launch.folder / "out.h5", locking=False) as file:
        rows = file["evaluations"][...]
    failed = rows[rows["status"] == Status.FAILED]
    assert (rows["status"] == Status.DONE).sum() > 20
    assert any(error.startswith(b"FloatingPointError") for error in failed["error"])


def test_griewank30(example):
    _, rows = example("griewank30")
    assert rows["result"].min() < 0.2


def test_model_selection(example):
    done, rows = example("model_selection")
    assert "(mean of 3 repeats)" in done.stdout
    results = rows["result"].reshape(-1, 3)
    assert len(results) == 24
    assert results.mean(axis=1).min() < 0.04
    assert (results.std(axis=1) > 0).any()  # each repeat has splits of its own
    assert (rows["metrics"]["worst_fold"] >= rows["result"] - 1e-12).all()


def test_simulation(example, launch):
    _, rows = example("simulation")
    best = rows[np.argmin(rows["result"])]
    assert best["result"] < 0.1
    assert best["values"]["length"] == pytest.approx(0.75, abs=0.03)
    written = sorted(launch.folder.glob("out.evaluations/*/angles.txt"))
    assert len(written) == len(rows)


def test_threads(example):
    _, rows = example("threads")
    assert rows["result"].min() < 0.36
    assert (rows["metrics"]["threads"] == rows["metrics"]["threads"][0]).all()
    assert rows["metrics"]["threads"][0] >= 1
