"""What the page says, taken apart."""

from __future__ import annotations

import base64
import hashlib
import re

import numpy as np
import pytest
from pages import QUOTES, SCRIPT, Page
from runs import run

from phs_mpi import Bayesian, Experiment, Grid, Random, analysis, expr
from phs_mpi.report import Drawn, draw, page, tables
from phs_mpi.store import read


def taken_apart(snapshot, drawn=None, **options) -> Page:
    return Page(page(snapshot, drawn or Drawn(), **options))


def test_every_set_has_a_row_with_its_values_and_outcome(mixed):
    found = taken_apart(mixed)
    columns = found.columns("table-of-sets")
    assert columns["set"] == [str(i) for i in range(40)]
    for index in range(40):
        values = mixed.values(index)
        assert float(columns["rate"][index]) == pytest.approx(values["rate"], rel=1e-5)
        assert columns["layers"][index] == str(values["layers"])
        assert columns["batch"][index] == str(values["batch"])
        assert columns["optimizer"][index] == values["optimizer"]
        done = mixed.done[index]
        assert columns["status"][index] == ("done" if done else "failed")
        assert columns["error"][index] == ("" if done else "ValueError: diverged")
        shown = float(columns["result"][index] or "nan")
        expected = mixed.columns["result"][index] if done else np.nan
        assert shown == pytest.approx(expected, rel=1e-5, nan_ok=True)
    assert set(columns["source"][:30]) == {"random"}
    assert [bool(cell) for cell in columns["predicted"]] == [
        bool(np.isfinite(x)) for x in mixed.columns["mean"]
    ]


def test_cells_are_sorted_by_all_digits_and_missing_ones_are_empty():
    cells = tables.column("x", [1 / 3, np.float64(2.0), None, np.nan, 7, np.inf]).cells
    assert cells == [
        '<td data-v="0.3333333333333333">0.333333',
        '<td data-v="2.0">2',
        "<td>",
        "<td>",
        "<td>7",
        "<td>inf",
    ]
    mixture = tables.column("x", ["a", 1, True, "b" * 70])
    assert not mixture.numeric
    assert mixture.cells[2] == "<td>True"
    assert mixture.cells[3] == f'<td title="{"b" * 70}">{"b" * 59}…'


def test_the_best_sets_are_there_as_python(mixed):
    text = taken_apart(mixed).text
    for index in analysis.ranking(mixed)[:5]:
        assert f"# set {index}, result {float(mixed.columns['result'][index])!r}" in text
    values = mixed.values(analysis.best(mixed))
    assert f"train(rate={values['rate']!r}, layers={values['layers']!r}" in text
    ranked = mixed.columns["result"][analysis.ranking(mixed)]
    assert (np.diff(ranked) >= 0).all()
    assert len(ranked) == mixed.done.sum()


def test_failures_that_are_alike_stand_together_with_a_traceback(mixed, attack):
    text = taken_apart(mixed).text
    failed = int((mixed.finished & ~mixed.done).sum())
    assert f"{failed} × ValueError: diverged" in text
    assert "in train" in text
    assert 'raise ValueError("diverged")' in text


def test_failures_whose_numbers_differ_are_alike(tmp_path):
    def target(x):
        raise ValueError(f"no result at {x}")

    experiment = Experiment(target, {"x": float}, capture=False)
    experiment.add(30, x=Random(0, 1))
    snapshot = run(experiment, tmp_path / "a.h5")
    found = taken_apart(snapshot)
    assert found.text.count("30 × ValueError: no result at") == 1
    assert f"set 3: {snapshot.error(3)}" in found.text
    assert "10 more" in found.text
    assert "No result yet." in found.text


def test_costs_add_up(mixed):
    columns = taken_apart(mixed).columns("table-of-workers")
    use = analysis.utilisation(mixed)
    assert columns["worker"] == ["", "0"]
    assert columns["node"][0] == "all workers"
    assert columns["evaluations"] == ["40", "40"]
    assert columns["failed"][0] == str((mixed.finished & ~mixed.done).sum())
    for name in ("evaluating", "proposing", "waiting"):
        seconds = getattr(use, name).sum()
        assert float(columns[f"{name}, s"][0]) == pytest.approx(seconds, abs=6e-4)
    exchanging = mixed.columns["exchanging"][mixed.finished].sum()
    assert float(columns["exchanging, s"][0]) == pytest.approx(exchanging, abs=6e-4)
    shares = [float(columns[f"{n}, %"][0]) for n in ("evaluating", "proposing", "waiting")]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert shares == pytest.approx(100 * use.overall(), abs=0.051)


def test_provenance(mixed):
    found = taken_apart(mixed)
    rows = dict(found.tables["plain"])
    assert rows["seed"] == "0"
    assert rows["phs_mpi"] == mixed.attributes["phs_mpi"]
    assert rows["command"] == mixed.attributes["command"]
    assert rows["backend"] == "serial"
    assert rows["maximize"] == "False"
    assert "30 sets: rate random(" in found.text
    assert "idle random(distribution='uniform', low=0, high=1)" in found.text


def test_figures_are_inline_and_what_lacks_says_why(attack):
    drawn = draw(attack)
    assert {"evolution", "timeline"} <= set(drawn.figures)
    assert set(drawn.lacking) >= {"slices", "calibration"}
    found = taken_apart(attack, drawn)
    pictures = {image["alt"]: image["src"] for image in found.named("img")}
    assert set(pictures) == set(drawn.figures)
    kind, encoded = pictures["evolution"].split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(encoded)[:8] == b"\x89PNG\r\n\x1a\n"
    assert "slices: no parameter is Bayesian" in found.text


def test_nothing_of_the_file_becomes_part_of_the_page(attack):
    raw = page(attack, Drawn())
    found = Page(raw)
    assert len(found.named("script")) == 1
    assert not found.named("img")
    assert not found.named("b")
    assert not [a for _, a in found.tags if any(name.startswith("on") for name in a)]
    columns = found.columns("table-of-sets")
    assert set(columns["text"]) == {SCRIPT, QUOTES}
    failed = np.flatnonzero(~attack.done)
    assert columns["error"][failed[0]].startswith("ValueError: bad <script>document")
    assert f"bad {SCRIPT}" in found.text
    assert "# $title ${path} </script>" in found.text
    assert f"hostile: {attack.path.name}" in found.text


def test_only_its_own_script_may_run_and_nothing_is_loaded(attack):
    raw = page(attack, draw(attack))
    found = Page(raw)
    (policy,) = [m["content"] for m in found.named("meta") if "Security" in m.get("http-equiv", "")]
    script = re.search(r"<script>(.*)</script>", raw, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    for _, attributes in found.tags:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("data:", "#"))


def test_it_reloads_itself_only_while_the_run_goes_on(mixed):
    def reload(found):
        return [m["content"] for m in found.named("meta") if m.get("http-equiv") == "refresh"]

    assert reload(taken_apart(mixed)) == []
    running = taken_apart(mixed, refresh=15.0)
    assert reload(running) == ["15"]
    assert "running: this page renews itself" in running.text


def test_a_file_without_a_finished_evaluation(tmp_path):
    from phs_mpi.store import prepare

    experiment = Experiment(lambda x: x, {"x": float})
    experiment.add(2, x=Random(0, 1))
    experiment.add(2, x=Bayesian(0, 1))
    prepare(tmp_path / "new.h5", experiment.table(), experiment.describe(), "", {})
    snapshot = read(tmp_path / "new.h5")
    drawn = draw(snapshot)
    assert not drawn.figures
    found = taken_apart(snapshot, drawn)
    columns = found.columns("table-of-sets")
    assert columns["status"] == ["to do"] * 4
    assert [bool(cell) for cell in columns["x"]] == [True, True, False, False]
    assert "No result yet." in found.text
    assert "No finished evaluation yet." in found.text
    assert "evolution: no result yet" in found.text


def test_repeats_have_their_mean_and_failures_their_repeat(tmp_path):
    def target(x):
        from phs_mpi import current

        if (current().index, current().repeat) == (2, 1):
            raise ValueError("once")
        return x + current().repeat

    experiment = Experiment(target, {"x": float}, repeats=3, capture=False)
    experiment.add(4, x=Random(0, 1))
    snapshot = run(experiment, tmp_path / "a.h5")
    found = taken_apart(snapshot)
    columns = found.columns("table-of-sets")
    assert columns["repeats"] == ["3"] * 4
    assert float(columns["result"][0]) == pytest.approx(snapshot.values(0)["x"] + 1, rel=1e-5)
    assert float(columns["standard error"][0]) == pytest.approx(3**-0.5, rel=1e-5)
    assert "End of the traceback of set 2, repeat 1:" in found.text
    assert "12 of 12" in found.text


def test_of_very_many_sets_the_best_are_listed(mixed, monkeypatch):
    monkeypatch.setattr(tables, "MOST_ROWS", 7)
    found = taken_apart(mixed)
    shown = [int(cell) for cell in found.columns("table-of-sets")["set"]]
    assert shown == sorted(analysis.ranking(mixed)[:7].tolist())
    assert "Of 40 sets the best 7 are listed" in found.text


def test_values_of_every_kind_have_a_cell(tmp_path):
    types = {
        "half": np.float16,
        "long": np.longdouble,
        "complex": np.complex64,
        "raw": "S5",
        "day": "datetime64[D]",
        "hours": "timedelta64[h]",
        "category": ["ä", 1, None, 2.5, True],
        "e": expr,
        "record": np.dtype([("a", "i4")]),
        "edge": float,
    }

    def target(**values):
        return 1.0

    experiment = Experiment(target, types, capture=False)
    experiment.add(
        half=0.5,
        long=np.longdouble(1) / 3,
        complex=1 + 2j,
        raw=b"ab",
        day="2024-02-29",
        hours=np.timedelta64(5, "h"),
        category=Grid(["ä", 1, None, 2.5, True]),
        e="half * 2",
        record=(3,),
        edge=float("inf"),
    )
    columns = taken_apart(run(experiment, tmp_path / "a.h5")).columns("table-of-sets")
    assert {name: cells[0] for name, cells in columns.items() if name in types} == {
        "half": "0.5",
        "long": "0.333333",
        "complex": "(1+2j)",
        "raw": "b'ab'",
        "day": "2024-02-29",
        "hours": "5 hours",
        "category": "ä",
        "e": "half * 2",
        "record": "(3,)",
        "edge": "inf",
    }
    assert columns["category"] == ["ä", "1", "None", "2.5", "True"]
