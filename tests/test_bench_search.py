"""The comparison of searches: variants are what they say and leave nothing behind; its tables."""

from __future__ import annotations

import importlib
import json
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest

from phs_mpi.log import EntryKind

BENCH = Path(__file__).resolve().parent.parent / "scripts" / "bench"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))


def current(name: str):
    module, attribute = name.split(".", 1)
    return attrgetter(attribute)(importlib.import_module(f"phs_mpi.search.{module}"))


def test_a_variant_replaces_what_it_names_while_it_proposes_only(bench, monkeypatch):
    import search_ablation
    import search_methods
    from search_problems import problem

    seen = {}

    def ask(self, pending):
        seen.update({name: current(name) for name in self.changes})
        return {}

    monkeypatch.setattr(search_methods.Ours, "ask", ask)
    space, _ = problem("branin", 0)
    for variant, changes in search_ablation.CHANGES.items():
        before = {name: current(name) for name in changes}
        search_ablation.VARIANTS[variant](space, 0).ask([])
        for name, value in changes.items():
            assert seen[name] is value, variant
            assert current(name) is before[name], variant
            assert before[name] is not value, variant


def test_every_variant_searches_and_most_go_another_way(bench):
    import search

    found = {
        variant: search.regret(variant, "branin", 0, evaluations=18, workers=3)
        for variant in ("phs_mpi", *search.search_ablation.VARIANTS)
    }
    assert np.isfinite(list(found.values())).all()
    assert min(found.values()) >= 0
    assert len(set(found.values())) > len(found) / 2


@pytest.mark.parametrize("name", ["svc-digits", "boosting-cancer", "mlp-digits"])
def test_a_tuning_problem_gives_the_same_result_for_the_same_values(bench, name):
    import search_problems

    space, evaluate = search_problems.tuning(name)
    U = np.random.default_rng(3).random((2, len(space.dimensions)))
    rows = [space.decode(x) for x in space.spread(U, np.zeros(space.width))]
    found = [evaluate(row) for row in rows]
    assert 0 < min(found) < max(found) < 5
    search_problems.tuning.cache_clear()
    assert [search_problems.tuning(name)[1](row) for row in rows] == found


def test_a_simulated_search_is_the_same_twice(bench):
    import search

    once, again = (search.regret("phs_mpi", "griewank2", 3, 20, 4) for _ in range(2))
    assert once == again


def test_cost_is_measured_once_and_set_beside_the_quickest_other(bench, tmp_path, capsys):
    import search
    import search_cost

    file = tmp_path / "cost.jsonl"
    search_cost.measure(["phs_mpi", "sobol"], [12], 2, file, [])
    lines = search.read(file)
    assert [(r["method"], r["n"], r["pending"]) for r in lines] == [
        ("phs_mpi", 12, 0),
        ("phs_mpi", 12, 31),
    ]
    search_cost.measure(["phs_mpi"], [12], 2, file, lines)
    assert len(search.read(file)) == 2

    with file.open("a") as out:
        for name, cycle in (("skopt", 20.0), ("botorch", 10.0)):
            line = {"setting": "cost", "method": name, "n": 12, "pending": 0}
            out.write(json.dumps(line | {"cycle": cycle, "cycles": 1, "refits": 0}) + "\n")
    lines = search.read(file)
    capsys.readouterr()
    search_cost.table(lines)
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| 12 | 0"))
    ratio = float(row.split("|")[-2])
    assert ratio == round(10.0 / lines[0]["cycle"])
    known = {(r["n"], r["pending"], r["method"]): r for r in lines}
    assert search_cost.expected(known, 24, 0, "skopt") == 40.0
    assert search_cost.expected(known, 24, 31, "skopt") == 0.0


@pytest.mark.parametrize("n", [10, 50, 200, 400, 1000, 5000])
def test_a_refit_of_ours_falls_into_the_cycles_that_are_measured(bench, n):
    import search_cost

    from phs_mpi.search.model import last_fit

    known = search_cost.begin(n, 20)
    assert n <= known < n + 64
    assert last_fit(known + 20) > last_fit(known)


def test_simulated_workers_may_take_their_time_to_propose(bench):
    """A set that is being proposed is not in the log: others finish before it starts."""
    import search_real

    follow = {}
    for lasts in (0.0, 0.7):
        made = search_real.experiment("branin", 0, 24, 0.0)
        reader, values = search_real.simulate(
            made, lambda v, _: v["x0"], lambda i: 1 + i / 64, 4, proposing=lambda _, t=lasts: t
        )
        assert sorted(values) == sorted(reader.completed) == list(range(24))
        entries = reader._log.entries()
        searched = [
            k for k, e in enumerate(entries) if e.kind == EntryKind.STARTED and e.index > 13
        ]
        follow[lasts] = sum(entries[k - 1].kind == EntryKind.COMPLETED for k in searched)
        assert len(searched) == 10
    assert follow[0.0] == 10  # each starts at the moment in which another has finished
    assert follow[0.7] < 10


def test_the_ablation_is_paired_by_problem_and_seed(bench, capsys):
    import search_ablation

    lines = [
        {"setting": "sequential", "problem": problem, "method": method, "seed": seed}
        | {"regret": regret, "cpu_seconds": seconds}
        for method, seconds, regrets in [
            ("phs_mpi", 1.0, {("a", 0): 1e-2, ("a", 1): 1e-3, ("b", 0): 1e-9}),
            ("no priors", 3.0, {("a", 0): 1e-1, ("b", 0): 1e-12}),
        ]
        for (problem, seed), regret in regrets.items()
    ]
    search_ablation.table(lines, "sequential")
    row = capsys.readouterr().out.splitlines()[-1]
    assert row == "| no priors | × 3.00 | +0.50 ± 0.50 | 2 | +1.00 | +0.00 |"
