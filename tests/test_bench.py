"""The comparison of searches: what it measures with is right, and it goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).resolve().parent.parent / "scripts" / "bench"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))


def test_the_optimum_is_where_it_was_shifted_to(bench):
    from search_problems import PROBLEMS, problem

    optima = {
        "griewank2": [0, 0],
        "branin": [np.pi, 2.275],
        "hartmann6": [0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573],
        "rosenbrock4": [1] * 4,
        "levy8": [1] * 8,
        "ackley5": [0] * 5,
        "ackley10": [0] * 10,
    }
    assert set(optima) == set(PROBLEMS)
    for name, optimum in optima.items():
        for seed in range(3):
            space, function = problem(name, seed)
            width = np.subtract(PROBLEMS[name][2], PROBLEMS[name][1])
            shift = np.random.default_rng([seed, 5]).uniform(-0.1, 0.1, len(width)) * width
            there = dict(zip([d.name for d in space.dimensions], optimum + shift, strict=True))
            assert abs(function(there)) < 1e-5, name
            at = space.decode(np.full(space.width, 0.9))
            assert function(at) > 1e-2, name


def test_every_set_is_evaluated_once_and_pending_ones_are_told(bench, monkeypatch):
    import search
    import search_methods

    told, waiting = [], []

    class Recorder(search_methods.Sobol):
        def ask(self, pending):
            waiting.append(len(pending))
            return super().ask(pending)

        def tell(self, values, result):
            told.append(tuple(values.values()))

    monkeypatch.setitem(search_methods.METHODS, "recorder", Recorder)
    found = search.regret("recorder", "branin", 0, evaluations=40, workers=8)
    assert len(told) == len(set(told)) == len(waiting) == 40
    assert waiting[:8] == list(range(8))
    assert set(waiting[8:]) == {7}
    assert found > 0


def test_a_comparison_goes_on_where_it_stopped(launch):
    arguments = [str(BENCH / "search.py"), "sequential", "table", "--problems", "branin"]
    done = launch(None, *arguments, "--seeds", "1")
    assert done.returncode == 0, done.stderr
    done = launch(None, *arguments, "--seeds", "2")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (launch.folder / "search.jsonl").open()]
    versions, *lines = lines
    assert versions["setting"] == "versions"
    assert np.__version__ == versions["numpy"]
    assert len(lines) == len({(r["method"], r["seed"]) for r in lines}) == 6
    by_method = {m: [r["regret"] for r in lines if r["method"] == m] for m in ("phs_mpi", "random")}
    assert max(by_method["phs_mpi"]) < min(by_method["random"])
    assert "| branin | 2 |" in done.stdout
    assert "| mean rank | | 1.00 |" in done.stdout
