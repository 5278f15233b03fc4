"""Following a results file, and calling the user's functions."""

from __future__ import annotations

import math

import h5py
import numpy as np
import pytest
from runs import mixed_experiment, run

from phs_mpi import Experiment, Random, current, expr
from phs_mpi.errors import DefinitionError
from phs_mpi.log import EntryKind, Status
from phs_mpi.monitor import MOST_REPORTS, Follower, Monitors
from phs_mpi.store import schema, tail


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(mixed_experiment(), tmp_path_factory.mktemp("monitor") / "mixed.h5")


def test_each_evaluation_comes_once_in_the_order_of_completion(finished):
    follower = Follower(finished.path)
    found = list(follower.new())
    completed = finished.log["index"][finished.log["kind"] == EntryKind.COMPLETED]
    assert [one.index for one in found] == completed.tolist()
    assert list(follower.new()) == []
    assert not follower.behind
    for one in found:
        row = finished.rows([one.index])[0]
        assert one.values == finished.values(one.index)
        assert list(one.values) == list(finished.types)
        assert one.status == (Status.DONE if finished.done[one.index] else Status.FAILED)
        assert one.error == finished.error(one.index)
        assert one.result == pytest.approx(
            row["result"] if finished.done[one.index] else math.nan, nan_ok=True
        )
        assert (one.worker, one.start, one.end) == (0, row["start"], row["end"])
        assert one.repeat == 0
    results = np.array([one.result for one in found])
    assert [one.best for one in found] == pytest.approx(np.fmin.accumulate(results), nan_ok=True)
    assert [one.finished for one in found] == list(range(1, 41))
    best = [one.index for one in found if one.is_best]
    assert best[-1] == completed[np.nanargmin(results)]


def test_evaluations_of_earlier_runs_count_for_the_best_and_do_not_come_again(finished):
    start = len(finished.log) - 4
    earlier = [int(e["index"]) for e in finished.log[:start] if e["kind"] == EntryKind.COMPLETED]
    results = {i: float(finished.columns["result"][i]) for i in earlier if finished.done[i]}
    found = list(Follower(finished.path, start, results | {0: -5.0}).new())
    assert [one.index for one in found] == [38, 39]
    assert {one.best_index for one in found} == {0}
    assert {one.best for one in found} == {-5.0}
    assert not any(one.is_best for one in found)


def test_with_repeats_the_best_is_a_mean_and_expressions_are_text(tmp_path):
    def target(x, e):
        return {"result": x + current().repeat, "e": float(e)}

    experiment = Experiment(target, {"x": float, "e": expr}, repeats=2, capture=False)
    experiment.add(4, x=Random(0, 1), e="x * 2")
    snapshot = run(experiment, tmp_path / "a.h5")
    found = list(Follower(snapshot.path).new())
    assert sorted((one.index, one.repeat) for one in found) == [
        (number, repeat) for number in range(4) for repeat in range(2)
    ]
    assert all(one.values["e"] == "x * 2" for one in found)
    assert all(one.metrics["e"] == 2 * one.values["x"] for one in found)
    assert found[-1].best == pytest.approx(
        min(s["x"] for s in map(snapshot.values, range(4))) + 0.5
    )


def test_what_a_function_is_given_cannot_be_changed(finished):
    one = next(Follower(finished.path).new())
    with pytest.raises(AttributeError):
        one.result = 3.0
    with pytest.raises(TypeError):
        one.values["rate"] = 3.0


def torn(snapshot, path, index):
    """A copy of a file in which one row has not arrived yet."""
    path.write_bytes(snapshot.path.read_bytes())
    with h5py.File(path, "r+") as file:
        row = file["evaluations"][index]
        whole = row.copy()
        row["status"] = 0
        file["evaluations"][index] = row
    return whole


def test_a_row_that_lags_behind_the_log_is_waited_for(finished, tmp_path):
    path = tmp_path / "late.h5"
    whole = torn(finished, path, 5)
    follower = Follower(path)
    assert [one.index for one in follower.new()] == list(range(5))
    assert follower.behind
    assert list(follower.new()) == []
    with h5py.File(path, "r+") as file:
        file["evaluations"][5] = whole
    assert [one.index for one in follower.new()] == list(range(5, 40))
    assert not follower.behind


def test_a_row_that_never_arrives_is_passed_over(finished, tmp_path, monkeypatch):
    path = tmp_path / "never.h5"
    torn(finished, path, 5)
    follower = Follower(path)
    monkeypatch.setattr(tail, "LAG_SECONDS", -1.0)
    assert [one.index for one in follower.new()] == [*range(5), *range(6, 40)]


def test_the_log_is_read_in_pieces(finished, monkeypatch):
    monkeypatch.setattr(tail, "_ENTRIES", 3)
    assert len(list(Follower(finished.path).new())) == 40


def test_an_entry_that_is_cut_short_ends_the_log(finished, tmp_path):
    path = tmp_path / "short.h5"
    path.write_bytes(finished.path.read_bytes())
    with h5py.File(path, "r+") as file:
        log = file["log"]
        entry = np.zeros((), schema.LOG_DTYPE)
        entry["index"] = 7
        log[20] = entry
    assert len(list(Follower(path).new())) == 10


class TestMonitors:
    def test_errors_are_reported_a_few_times_then_counted(self, finished):
        said, seen = [], []

        def bad(evaluation):
            raise KeyError("no", evaluation.index)

        def leaves(evaluation):
            raise SystemExit(4)

        monitors = Monitors([bad, seen.append, leaves], said.append)
        for one in Follower(finished.path).new():
            monitors(one)
        assert len(seen) == monitors.called == 40
        assert monitors.raised == 80
        assert len(said) == 2 * MOST_REPORTS
        name = "TestMonitors.test_errors_are_reported_a_few_times_then_counted.<locals>.bad"
        assert said[0].startswith(
            f"the monitor {name!r} on set 0: KeyError: ('no', 0) (test_monitor.py:"
        )
        assert said[0].endswith("; the search goes on")
        assert said[2 * MOST_REPORTS - 2].endswith("more failures are only counted")
        assert "SystemExit: 4" in monitors.last

    def test_a_message_is_one_line(self, finished):
        said = []

        def bad(evaluation):
            raise ValueError("two\nlines " + "x" * 1000)

        Monitors([bad], said.append)(next(Follower(finished.path).new()))
        assert "\n" not in said[0]
        assert len(said[0]) < 450


class TestDeclaration:
    def target(self, x):
        return x

    @pytest.mark.parametrize(
        ("monitor", "message"),
        [
            (3, "monitor=3 is no function"),
            ([print, "x"], "is no function"),
            (lambda: None, "cannot be called with one argument"),
            (lambda a, b: None, "cannot be called with one argument"),
        ],
    )
    def test_what_is_no_monitor_is_refused(self, monitor, message):
        with pytest.raises(DefinitionError, match=message) as caught:
            Experiment(lambda x: x, {"x": float}, monitor=monitor)
        assert "a function of one argument" in str(caught.value)

    def test_one_several_or_none(self):
        def experiment(**options):
            return Experiment(lambda x: x, {"x": float}, **options)

        assert experiment().monitors == ()
        assert experiment(monitor=print).monitors == (print,)
        assert experiment(monitor=[print, len]).monitors == (print, len)
        assert experiment(monitor=[]).monitors == ()

    def test_it_is_no_part_of_the_experiment(self):
        experiment = Experiment(lambda x: x, {"x": float})
        watched = Experiment(lambda x: x, {"x": float}, monitor=print)
        assert {**watched.describe(), "target": 0} == {**experiment.describe(), "target": 0}
