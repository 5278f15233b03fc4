import numpy as np
import pytest
from matplotlib.collections import LineCollection

from phs_mpi import Choice, Random, analysis, plotting
from phs_mpi.errors import PhsError


def lines(axes):
    (collection,) = (c for c in axes.collections if isinstance(c, LineCollection))
    return np.array(collection.get_segments()), collection.get_colors()


def test_a_line_for_each_set_and_an_axis_for_each_parameter(mixed):
    axes, bar = plotting.combination(mixed).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == list(mixed.types)
    assert bar.get_ylabel() == "result"
    segments, colours = lines(axes)
    done = np.flatnonzero(mixed.done)
    assert segments.shape == (len(done), 5, 2)
    # Drawn from worst to best, the best most visible.
    order = done[np.argsort(-analysis.results(mixed)[done], kind="stable")]
    rates = np.array([mixed.values(i)["rate"] for i in order])
    low, high = np.log10([rates.min(), rates.max()])
    assert segments[:, 0, 1] == pytest.approx((np.log10(rates) - low) / (high - low))
    assert (np.diff(colours[:, 3]) > 0).all()
    row = {"adam": 0, "sgd": 1, "$x$": 2}
    rows = [row[mixed.values(i)["optimizer"]] for i in order]
    assert np.floor(segments[:, 3, 1] * 3).tolist() == rows


def test_the_best_set_is_a_line_of_its_own(mixed):
    axes = plotting.combination(mixed).axes[0]
    (best,) = (line for line in axes.get_lines() if line.get_label() == "best")
    segments, _ = lines(axes)
    assert best.get_ydata() == pytest.approx(segments[-1, :, 1])
    row = ["adam", "sgd", "$x$"].index(mixed.values(analysis.best(mixed))["optimizer"])
    assert best.get_ydata()[3] == (row + 0.5) / 3  # not beside its category, as the others


def test_some_parameters_in_the_order_asked_for(mixed):
    axes = plotting.combination(mixed, ["optimizer", "rate"]).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["optimizer", "rate"]
    texts = {text.get_text() for text in axes.texts}
    assert {"adam", "sgd", "0.001", "0.01"} <= texts


def test_many_sets_keep_the_best_and_some_of_the_rest(evaluated):
    snapshot = evaluated(lambda x, y: x, 1500, x=Random(0, 1), y=Random(0, 1))
    segments, _ = lines(plotting.combination(snapshot).axes[0])
    assert len(segments) == 1000
    x = np.sort([value["x"] for value in snapshot.cells()])
    assert np.ptp(x[:500]) == pytest.approx(np.ptp(segments[-500:, 0, 1]) * np.ptp(x), rel=1e-6)


def test_by_default_only_parameters_that_vary(evaluated):
    snapshot = evaluated(
        lambda a, b, c: b + c, 8, a=Choice([3000]), b=Random(0, 1), c=Choice([4, 8, 16, 32])
    )
    axes = plotting.combination(snapshot).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["b", "c"]
    axes = plotting.combination(snapshot, ["a", "c"]).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "c"]
    heights = {text.get_text(): text.xy[1] for text in axes.texts}
    assert heights.pop("3000") == 0.5
    assert [text.get_text() for text in axes.texts].count("3000") == 1
    # Evenly, as far as they were drawn.
    assert set(heights) <= {"4", "8", "16", "32"}
    assert np.ptp(np.diff(sorted(heights.values()))) < 1e-9


def test_parameters_that_never_vary_have_a_place(evaluated):
    snapshot = evaluated(lambda x, y: x, x=Random(0, 1), y=Choice([0.5]))
    segments, _ = lines(plotting.combination(snapshot).axes[0])
    assert (segments[:, 1, 1] == 0.5).all()


def test_names_of_fifteen_parameters_do_not_overlap(evaluated):
    names = [f"parameter_{k}" for k in range(15)]
    snapshot = evaluated(
        lambda **values: sum(values.values()), **dict.fromkeys(names, Random(0, 1))
    )
    figure = plotting.combination(snapshot)
    figure.draw_without_rendering()
    ends = [label.get_window_extent().x1 for label in figure.axes[0].get_xticklabels()]
    assert (np.diff(ends) > 30).all()


def test_one_parameter_alone_is_refused(evaluated):
    with pytest.raises(PhsError, match="two parameters or more, and there is 'x' alone"):
        plotting.combination(evaluated(lambda x: x, x=Random(0, 1)))
