import math

import numpy as np
import pytest
from results import evaluate, make_experiment, make_outcome, make_proposal, resume

from phs_mpi import plotting
from phs_mpi.log import EntryKind, Status
from phs_mpi.store import open_store, read


def boxes(axes):
    """Corners of all bars, by label: left, right, row."""
    found = {}
    for c in axes.collections:
        corners = np.array([path.vertices[:4] for path in c.get_paths()])
        found[c.get_label()] = np.stack(
            [corners[:, 0, 0], corners[:, 1, 0], corners[:, :, 1].mean(axis=1)], axis=1
        )
    return found


def write(path, count, **fields):
    """A file of sets evaluated as `fields`, each a function of the index, say."""
    experiment = make_experiment(count, 0)
    resume(path, experiment)
    table = experiment.table()
    with open_store(path, table) as store:
        for index in range(count):
            proposal = make_proposal(table, index)
            given = {name: function(index) for name, function in fields.items()}
            store.append_log([EntryKind.STARTED], [index])
            store.commit(proposal, make_outcome(proposal, **given))
            store.append_log([EntryKind.COMPLETED], [index])
    return read(path)


def test_a_bar_for_each_part_of_each_evaluation(tmp_path):
    path = tmp_path / "a.h5"
    resume(path, make_experiment())
    evaluate(path, make_experiment(), range(20), failed=[3, 12])
    axes = plotting.timeline(read(path)).axes[0]
    bars = boxes(axes)
    assert {label: len(rows) for label, rows in bars.items()} == {
        "waiting": 20,
        "proposing": 20,
        "evaluating": 18,
        "evaluating, failed": 2,
    }
    for label, seconds in (("waiting", 0.2), ("proposing", 0.05), ("evaluating", 0.75)):
        left, right, _ = bars[label].T
        assert right - left == pytest.approx(seconds)
    # Set 0 is of the first worker, which waits, proposes, evaluates.
    assert bars["waiting"][0] == pytest.approx([0, 0.2, 0])
    assert bars["proposing"][0] == pytest.approx([0.2, 0.25, 0])
    assert bars["evaluating"][0] == pytest.approx([0.25, 1.0, 0])
    assert [t.get_text() for t in axes.get_legend().get_texts()] == list(bars)


def test_nodes_on_the_left_and_utilisation_on_the_right(tmp_path):
    snapshot = write(
        tmp_path / "a.h5",
        8,
        worker=lambda i: 1 + i % 4,
        host=lambda i: "ab"[i % 4 // 2],
        start=lambda i: 100.0 + 10 * (i // 4),
        end=lambda i: 100.0 + 10 * (i // 4) + (6 if i % 4 == 0 else 9),
        waiting=lambda i: 0.5,
        proposing=lambda i: 0.5,
    )
    figure = plotting.timeline(snapshot)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a  1", "2", "b  3", "4"]
    (margin,) = axes.child_axes
    assert [t.get_text() for t in margin.get_yticklabels()] == ["86 %", "90 %", "90 %", "90 %"]
    top, bottom = axes.get_ylim()
    assert top > bottom  # the first worker is on top
    assert "8 evaluations, 89.2 % evaluating" in axes.get_title()


def test_a_pause_of_all_workers_is_cut_out_and_marked(tmp_path):
    later = 7 * 3600.0
    snapshot = write(
        tmp_path / "a.h5",
        12,
        start=lambda i: 10.0 * (i // 3) + (later if i >= 6 else 0),
        end=lambda i: 10.0 * (i // 3) + 9 + (later if i >= 6 else 0),
    )
    data = plotting.work(snapshot)
    assert data.end.max() < 45
    ((moment, seconds),) = data.pauses
    assert seconds == pytest.approx(later, rel=0.01)
    axes = plotting.timeline(snapshot).axes[0]
    assert "pause of 7 hours" in [text.get_text() for text in axes.texts]
    assert axes.get_xlim()[0] < moment < axes.get_xlim()[1]


def test_sixty_four_workers_are_all_named_and_apart(tmp_path):
    snapshot = write(
        tmp_path / "a.h5", 128, worker=lambda i: i % 64, host=lambda i: f"node{i % 64 // 16:03}"
    )
    figure = plotting.timeline(snapshot)
    figure.draw_without_rendering()
    labels = figure.axes[0].get_yticklabels()
    assert len([label for label in labels if label.get_text()]) == 64
    boxes = [label.get_window_extent() for label in labels]
    # Digits fill about three quarters of the height of their box.
    middles = [(box.y0 + box.y1) / 2 for box in boxes]
    assert np.abs(np.diff(middles)).min() > 0.75 * max(box.height for box in boxes)


@pytest.mark.parametrize(("seconds", "unit"), [(100, "seconds"), (1000, "minutes"), (1e5, "hours")])
def test_units_of_time(tmp_path, seconds, unit):
    snapshot = write(tmp_path / "a.h5", 3, start=lambda i: 10.0, end=lambda i: 10.0 + seconds)
    assert plotting.timeline(snapshot).axes[0].get_xlabel().startswith(unit)


def test_only_failures_are_drawn_too(tmp_path):
    path = tmp_path / "a.h5"
    resume(path, make_experiment())
    evaluate(path, make_experiment(), [0, 1], failed=[0, 1])
    assert len(boxes(plotting.timeline(read(path)).axes[0])["evaluating, failed"]) == 2


def test_a_real_run(mixed):
    data = plotting.work(mixed)
    assert len(data.row) == len(mixed)
    assert (data.waits <= data.proposes).all()
    assert (data.proposes <= data.start).all()
    assert (data.start <= data.end).all()
    assert data.done.sum() == (mixed.status == Status.DONE).sum()
    assert not math.isnan(data.shares()[0])
