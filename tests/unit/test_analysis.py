import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from results import evaluate, make_experiment, make_outcome, make_proposal, resume

from phs_mpi import analysis, summary
from phs_mpi.experiment import Experiment
from phs_mpi.log import EntryKind, Outcome, Proposal, Source, Status
from phs_mpi.store import open_store, read


@pytest.fixture
def path(tmp_path):
    """A file in which 0 to 13 of 20 are evaluated on 3 workers, 3 and 12 unsuccessfully."""
    path = tmp_path / "a.h5"
    experiment = make_experiment()
    resume(path, experiment)
    evaluate(path, experiment, range(14), failed=[3, 12])
    with open_store(path, experiment.table()) as store:
        store.append_log([EntryKind.STARTED] * 3 + [EntryKind.LOST], [14, 15, 16, 15])
    return path


def empty(tmp_path, **options):
    resume(tmp_path / "empty.h5", make_experiment(**options))
    return read(tmp_path / "empty.h5")


def test_counts(path):
    count = analysis.counts(read(path))
    assert count == (20, 12, 2, 0, 2)
    assert (count.finished, count.left) == (14, 6)


def test_counts_of_timed_out_sets(path):
    table = make_experiment().table()
    proposal = make_proposal(table, 17)
    with open_store(path, table) as store:
        store.commit(proposal, make_outcome(proposal, Status.TIMED_OUT))
    assert analysis.counts(read(path)) == (20, 12, 2, 1, 2)
    assert "1 timed out" in summary.status_text(read(path))


def test_best_respects_the_direction(path, tmp_path):
    snapshot = read(path)
    results = analysis.results(snapshot)
    assert np.isnan(results[[3, 12, 14]]).all()
    assert analysis.best(snapshot) == np.nanargmin(results)
    upward = tmp_path / "up.h5"
    experiment = make_experiment(maximize=True)
    resume(upward, experiment)
    evaluate(upward, experiment, range(14))
    assert analysis.best(read(upward)) == np.nanargmax(analysis.results(read(upward)))


@given(st.lists(st.floats(allow_infinity=False)), st.booleans())
def test_best_so_far_is_the_best_of_each_prefix(found, maximize):
    curve = analysis.best_so_far(np.array(found, float), maximize)
    for k in range(len(found)):
        known = [value for value in found[: k + 1] if not math.isnan(value)]
        if not known:
            assert math.isnan(curve[k])
        else:
            assert curve[k] == (max if maximize else min)(known)


def test_rate_and_time_left(path):
    # 3 workers, each a second an evaluation: ends at 1000.75, 1001.75, ... 1004.75
    snapshot = read(path)
    assert analysis.rate(snapshot) == pytest.approx(13 / 4)
    assert analysis.seconds_left(snapshot) == pytest.approx(6 / (13 / 4))


def test_rate_forgets_a_pause_between_runs(tmp_path):
    path = tmp_path / "a.h5"
    experiment = make_experiment(300, 0)
    resume(path, experiment)
    table = experiment.table()
    with open_store(path, table) as store:
        for index in range(200):
            proposal = make_proposal(table, index)
            start = index / 10 + (86400 if index >= 100 else 0)
            store.commit(proposal, make_outcome(proposal, start=start, end=start + 0.1))
    assert analysis.rate(read(path)) == pytest.approx(10)


def test_utilisation(path):
    use = analysis.utilisation(read(path))
    assert use.worker.tolist() == [1, 2, 3]
    assert use.evaluations.tolist() == [5, 5, 4]
    assert use.evaluating == pytest.approx(0.75 * use.evaluations)
    assert use.shares() == pytest.approx(np.tile([0.75, 0.05, 0.2], (3, 1)))
    assert use.overall() == pytest.approx([0.75, 0.05, 0.2])


def test_wall_time_is_the_union_of_what_workers_did(path, tmp_path):
    assert analysis.wall_time(read(path)) == pytest.approx(5.0)
    other = tmp_path / "b.h5"
    experiment = make_experiment()
    resume(other, experiment)
    table = experiment.table()
    spans = [(10, 20), (12, 15), (19, 30), (100, 101), (40, 41)]
    with open_store(other, table) as store:
        for index, (start, end) in enumerate(spans):
            proposal = make_proposal(table, index)
            fields = {"start": start, "end": end, "proposing": 0, "waiting": 0}
            store.commit(proposal, make_outcome(proposal, **fields))
    assert analysis.wall_time(read(other)) == pytest.approx(20 + 1 + 1)


def test_nothing_evaluated(tmp_path):
    snapshot = empty(tmp_path)
    assert analysis.best(snapshot) is None
    assert analysis.wall_time(snapshot) == 0
    assert math.isnan(analysis.rate(snapshot))
    assert math.isnan(analysis.seconds_left(snapshot))
    assert len(analysis.utilisation(snapshot).worker) == 0
    assert summary.best_text(snapshot) == "no result yet"
    assert "0 of 20 parameter sets evaluated (0 %)" in summary.status_text(snapshot)
    assert "20 to do" in summary.summary(snapshot)


def test_only_one_evaluation(tmp_path):
    empty(tmp_path)
    evaluate(tmp_path / "empty.h5", make_experiment(), [0])
    snapshot = read(tmp_path / "empty.h5")
    assert math.isnan(analysis.rate(snapshot))
    assert "1 worker: 75.0 % evaluating" in summary.status_text(snapshot)


def test_searched_sets(path):
    assert np.flatnonzero(analysis.searched(read(path))).tolist() == [12, 13]


def test_the_best_set_as_python_gives_the_best_set_back(path):
    snapshot = read(path)
    comment, call, values = summary.best_text(snapshot).splitlines()
    best = analysis.best(snapshot)
    assert comment.startswith(f"# best: set {best}, result ")
    assert eval(values) == snapshot.values(best)
    seen = {}
    eval(call, {"griewank": seen.update})
    assert seen == snapshot.values(best)


def test_expressions_are_assigned_in_order(tmp_path):
    path = tmp_path / "a.h5"
    experiment = Experiment(lambda x, y: 0.0, {"x": float, "y": "expr"})
    experiment.add(x=1.5, y="x * 2")
    resume(path, experiment)
    with open_store(path, experiment.table()) as store:
        values = experiment.table().defined(0)
        store.commit(Proposal(0, values, Source.EXPLICIT), Outcome(0, Status.DONE, 1.0))
    text = summary.best_text(read(path))
    assert text.splitlines()[1:] == ["x = 1.5", "y = x * 2", "dict(x=x, y=y)"]


def test_numpy_values_as_python():
    values = {"a": np.float32(0.5), "b": float("inf"), "c": "it's"}
    text = summary.as_python(values, "f")
    assert text == "f(a=np.float32(0.5), b=float('inf'), c=\"it's\")"


def test_status_text(path):
    text = summary.status_text(read(path))
    assert "14 of 20 parameter sets evaluated (70 %)" in text
    assert "12 done, 2 failed, 2 running, 4 to do" in text
    assert "3.25 evaluations/s" in text
    assert "1.85 s left" in text
    assert "all 3 workers: 75.0 % evaluating, 5.0 % proposing, 20.0 % waiting" in text
    assert "worker 2: 5 evaluations" in text


def test_many_workers_are_summed_up(tmp_path):
    path = tmp_path / "a.h5"
    experiment = make_experiment(60, 0)
    resume(path, experiment)
    table = experiment.table()
    with open_store(path, table) as store:
        for index in range(60):
            proposal = make_proposal(table, index)
            store.commit(proposal, make_outcome(proposal, worker=index))
    text = summary.status_text(read(path))
    assert "all 60 workers" in text
    assert len(text.splitlines()) < 10


def test_summary(path):
    text = summary.summary(read(path))
    assert "12 done, 2 failed" in text
    assert "first failure: set 3: ValueError: no good: 3" in text
    assert "5 s on 3 workers, 75.0 % evaluating" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "0.25 s"),
        (59.94, "59.9 s"),
        (59.99, "1 min 0 s"),
        (3599.9, "1 h 0 min"),
        (7260, "2 h 1 min"),
        (3 * 86400 + 3700, "3 d 1 h"),
    ],
)
def test_duration(seconds, text):
    assert summary.duration(seconds) == text
