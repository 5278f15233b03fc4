from __future__ import annotations

import h5py
import numpy as np
import pytest

import phs_mpi
from phs_mpi import Bayesian, Experiment, Random
from phs_mpi.explaining import NotExplicable, differences, explain, text
from phs_mpi.log import Source
from phs_mpi.store import read


@pytest.fixture
def search(tmp_path, monkeypatch):
    """Run an experiment of 6 drawn and some Bayesian sets; returns its snapshot."""
    monkeypatch.chdir(tmp_path)

    def search(target=lambda x, y: (x - 0.3) ** 2 + y, bayesian=6, types=None, **options):
        given = {"retry_failed": options.pop("retry_failed", False)}
        experiment = Experiment(
            target, types or {"x": float, "y": float}, name="s", capture=False, **options
        )
        experiment.add(2, x=Bayesian(-1, 1), y=Bayesian(0, 1))
        experiment.add(6, x=Random(-1, 1), y=Random(0, 1))
        experiment.add(bayesian, x=Bayesian(-1, 1), y=Bayesian(0, 1))
        return read(phs_mpi.run(experiment, quiet=True, **given).path, verify=True)

    return search


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"wait_for_all": True, "seed": 9},
        {"maximize": True},
        {"acquisition": "ts"},
        {"surrogate": "extra_trees", "acquisition": "ei"},
        {"types": {"x": np.float32, "y": np.longdouble}},
    ],
)
def test_the_same_bits(search, options):
    snapshot = search(**options)
    for index in (*range(2), *range(8, 14)):
        assert differences(snapshot, explain(snapshot, index)) == []


def test_in_words(search):
    snapshot = search()
    words, same = text(snapshot, 13)
    assert same
    assert "proposed by a Gaussian process from 26 log entries" in words
    assert "it had seen  13 evaluations, 0 of them failed; best" in words
    assert words.count("lengthscale ") == 2
    assert "runner-up 1" in words
    assert "standard deviations)" in words
    words, _ = text(snapshot, 0)
    assert "a point of a Sobol sequence" in words
    assert "lengthscale" not in words


def test_runners_up_are_other_points(search):
    snapshot = search()
    explanation = explain(snapshot, 12)
    points = [tuple(explanation.proposal.values.values())]
    points += [tuple(other.values.values()) for other in explanation.runners_up]
    distances = [np.abs(np.subtract(a, b)).max() for i, a in enumerate(points) for b in points[:i]]
    assert min(distances) > 1e-3
    scores = [explanation.proposal.acquisition, *(o.acquisition for o in explanation.runners_up)]
    assert scores[1:] == sorted(scores[1:], reverse=True)


def test_a_file_that_was_tampered_with_is_noticed(search):
    snapshot = search()
    with h5py.File(snapshot.path, "r+") as file:
        row = file["evaluations"][5]
        row["result"] += 1e-9
        file["evaluations"][5] = row
    words, same = text(read(snapshot.path), 13)
    assert not same
    assert "worked out once more it differs in" in words


def test_what_rests_on_replaced_values_cannot_be_explained(search, tmp_path):
    def target(x, y):
        if not (tmp_path / "mended").exists() and x > 0.35:
            raise ValueError
        return (x - 0.3) ** 2 + y

    snapshot = search(target, bayesian=12)
    failed = np.flatnonzero(snapshot.finished & ~snapshot.done)
    proposed = [int(i) for i in failed if i < 2 or i >= 8]
    assert len(proposed) > 1
    # Proposed when the first of them had failed, and good itself.
    after = next(i for i in range(8, 20) if i > proposed[0] and i not in failed)
    (tmp_path / "mended").touch()
    again = search(target, bayesian=12, retry_failed=True)
    assert again.done.all()
    with pytest.raises(NotExplicable, match=f"rests on values of set {proposed[0]} that were"):
        explain(again, after)
    # What was proposed before, and what was proposed last, can be.
    for index in (0, proposed[-1]):
        assert differences(again, explain(again, index)) == []


def test_what_was_not_proposed(search):
    snapshot = search()
    with pytest.raises(NotExplicable, match="set 4 was not proposed: its values are random"):
        explain(snapshot, 4)
    with pytest.raises(NotExplicable, match="there is no set 14; give one of 0 to 13"):
        explain(snapshot, 14)
    assert snapshot.columns["source"][0] == Source.SOBOL


def test_what_is_not_evaluated_yet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment = Experiment(lambda x: x, {"x": float}, name="s", capture=False)
    experiment.add(3, x=Bayesian(0, 1))
    path = phs_mpi.run(experiment, quiet=True).path
    with h5py.File(path, "r+") as file:
        row = file["evaluations"][1]
        row["status"] = 0
        file["evaluations"][1] = row
    with pytest.raises(NotExplicable, match="set 1 has not been evaluated yet"):
        explain(read(path), 1)
