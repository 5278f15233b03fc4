import numpy as np
import pytest
from matplotlib.colors import LogNorm
from matplotlib.contour import QuadContourSet
from PIL import Image
from runs import run

from phs_mpi import Choice, Experiment, Random, analysis, plotting
from phs_mpi.errors import PhsError
from phs_mpi.plotting.labels import place_labels
from phs_mpi.plotting.style import new_figure


def points(axes):
    """Places and results of all sets shown."""
    shown = [c for c in axes.collections if not isinstance(c, QuadContourSet)]
    return (
        np.concatenate([c.get_offsets() for c in shown]),
        np.concatenate([c.get_array() for c in shown]),
    )


def test_values_colours_and_the_best(mixed):
    axes, bar = plotting.scatter(mixed, "layers", "idle").axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("layers", "idle")
    assert bar.get_ylabel() == "result"
    done = np.flatnonzero(mixed.done)
    values = [mixed.values(i) for i in done]
    places, found = points(axes)
    expected = [
        (v["layers"], v["idle"], r)
        for v, r in zip(values, analysis.results(mixed)[done], strict=True)
    ]
    assert sorted(zip(*places.T.tolist(), found.tolist(), strict=True)) == sorted(expected)
    best = analysis.best(mixed)
    (circle,) = (line for line in axes.get_lines() if line.get_label() == "best")
    assert circle.get_xdata()[0] == mixed.values(best)["layers"]
    assert circle.get_ydata()[0] == mixed.values(best)["idle"]
    assert str(best) in [text.get_text() for text in axes.texts]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["drawn", "Bayesian", "best"]


def test_all_numbers_of_a_few_sets_and_none_over_another(evaluated):
    snapshot = evaluated(lambda x, y: x + y, 100, x=Random(0, 1), y=Random(0, 1))
    figure = plotting.scatter(snapshot)
    axes = figure.axes[0]
    figure.draw_without_rendering()
    texts = axes.texts
    assert len(texts) >= 75
    assert {int(text.get_text()) for text in texts} <= set(range(100))
    boxes = [text.get_window_extent() for text in texts]
    assert all(axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 + 2 for box in boxes)
    for k, box in enumerate(boxes):
        # Letters stand less high than the box around them: a little of it may overlap.
        inner = box.expanded(0.8, 0.6)
        assert not any(inner.overlaps(other.expanded(0.8, 0.6)) for other in boxes[:k])
    for text in texts:
        values = snapshot.values(int(text.get_text()))
        assert text.xy == pytest.approx((values["x"], values["y"]))


def test_numbers_stay_within_the_axes():
    figure, axes = new_figure()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    place_labels(figure, axes, corners, ["10", "11", "12", "13"], corners)
    sides = [(text.get_ha(), text.get_va()) for text in axes.texts]
    assert sides == [("left", "bottom"), ("right", "bottom"), ("left", "top"), ("right", "top")]


def test_many_sets_have_the_numbers_of_the_best_only(evaluated):
    snapshot = evaluated(lambda x, y: x + y, 150, x=Random(0, 1), y=Random(0, 1))
    numbers = {int(t.get_text()) for t in plotting.scatter(snapshot).axes[0].texts}
    ranks = np.argsort(np.argsort(analysis.results(snapshot)))
    assert analysis.best(snapshot) in numbers
    assert all(ranks[k] < 12 for k in numbers)


def test_logarithmic_axes_and_categories(mixed):
    axes = plotting.scatter(mixed, "rate", "optimizer").axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["adam", "sgd", r"\$x\$"]  # as text, not as mathematics
    places, found = points(axes)
    results = analysis.results(mixed)
    for (rate, row), result in zip(places, found, strict=True):
        (k,) = np.flatnonzero(results == result)
        values = mixed.values(k)
        assert rate == values["rate"]
        assert round(row) == ["adam", "sgd", "$x$"].index(values["optimizer"])


def test_one_logarithmic_group_is_enough(tmp_path):
    experiment = Experiment(lambda x, y: x, {"x": float, "y": float}, capture=False)
    experiment.add(x=0.001, y=0.0)
    experiment.add(5, x=Random(1e-4, 1, log=True), y=Random(0, 1))
    assert plotting.scatter(run(experiment, tmp_path / "a.h5")).axes[0].get_xscale() == "log"


def test_a_value_that_is_not_positive_makes_the_axis_linear(tmp_path):
    experiment = Experiment(lambda x, y: x, {"x": float, "y": float}, capture=False)
    experiment.add(x=0.0, y=0.0)
    experiment.add(5, x=Random(1e-4, 1, log=True), y=Random(0, 1))
    axes = plotting.scatter(run(experiment, tmp_path / "a.h5")).axes[0]
    assert axes.get_xscale() == "linear"
    assert 0.0 in points(axes)[0][:, 0]


@pytest.mark.parametrize(
    ("listed", "scale", "ticks"),
    [
        ([256, 16, 64, 32, 128], "log", ["16", "32", "64", "128", "256"]),
        ([0.1, 1.0, 10.0], "log", ["0.1", "1", "10"]),
        ([2**k for k in range(15)], "log", None),  # too many to label each
        ([16, 32, 48, 64], "linear", None),
        ([8, 64], "linear", None),
        ([0, 1, 2, 4], "linear", None),
    ],
)
def test_values_listed_at_equal_ratios_lie_evenly(evaluated, listed, scale, ticks):
    # Also with some of them not drawn.
    snapshot = evaluated(lambda x, y: x + y, 6, x=Random(0, 1), y=Choice(listed))
    for names, contour in ((("x", "y"), False), (("y", "x"), False), (("x", "y"), True)):
        axes = plotting.scatter(snapshot, *names, contour=contour).axes[0]
        axis = axes.yaxis if names[1] == "y" else axes.xaxis
        assert axis.get_scale() == scale
        if ticks:
            axes.figure.draw_without_rendering()
            assert [label.get_text() for label in axis.get_ticklabels()] == ticks
            assert not axis.get_ticklabels(minor=True)


def test_categories_keep_their_declared_order(mixed):
    axes = plotting.scatter(mixed, "batch", "rate").axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["64", "16", "32"]


def test_by_default_the_first_two_that_vary(evaluated):
    snapshot = evaluated(lambda a, b, c: b + c, 8, a=Choice([1.0]), b=Random(0, 1), c=Random(0, 1))
    axes = plotting.scatter(snapshot).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("b", "c")
    axes = plotting.scatter(snapshot, y="a").axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("b", "a")


def test_contour_follows_the_results_and_ends_with_them(evaluated):
    # The logarithm of x is what the result follows.
    snapshot = evaluated(
        lambda x, y: np.log10(x) + 0 * y, 60, x=Random(1e-4, 1, log=True), y=Random(0, 1)
    )
    axes = plotting.scatter(snapshot, contour=True).axes[0]
    (filled,) = (c for c in axes.collections if isinstance(c, QuadContourSet))
    assert axes.get_xscale() == "log"
    surface = plotting.interpolated(snapshot, "x", "y")
    middle = surface.heights[len(surface.y) // 2]
    assert np.abs(middle - np.log10(surface.x))[10:-10].max() < 0.25
    values = [snapshot.values(i) for i in range(60)]
    assert surface.x[0] == pytest.approx(min(v["x"] for v in values))
    assert surface.x[-1] == pytest.approx(max(v["x"] for v in values))
    found = analysis.results(snapshot)
    assert found.min() <= surface.heights.min() <= surface.heights.max() <= found.max()
    assert filled.get_clip_path() is not None
    corners = {tuple(corner) for corner in surface.hull.round(6).tolist()}
    assert corners <= {(round(v["x"], 6), round(v["y"], 6)) for v in values}


def test_contour_goes_on_at_its_edge_as_it_is_there(tmp_path):
    experiment = Experiment(lambda x, y, z: z, dict.fromkeys("xyz", float), capture=False)
    for x, y, z in ((0, 1, 1), (0.2, 0, 1), (1, 0, 1), (1, 1, 1), (0.35, 0.5, 0)):
        experiment.add(x=x, y=y, z=z)
    surface = plotting.interpolated(run(experiment, tmp_path / "a.h5"), "x", "y")
    row = surface.heights[np.abs(surface.y - 0.5).argmin()]
    beside = np.interp([0.1, 0.12, 0.2, 0.35], surface.x, row)
    # The edge goes from (0, 1) to (0.2, 0), both with 1; outside, the set with 0 is the nearest.
    assert beside == pytest.approx([1, 0.92, 0.6, 0], abs=0.1)


def test_no_contour_of_sets_on_a_line_but_for_rounding(tmp_path):
    experiment = Experiment(lambda x, y: x, dict.fromkeys("xy", float), capture=False)
    for x, error in ((0, 0), (0.3, 1e-13), (1, 0)):
        experiment.add(x=x, y=1 - x + error)
    with pytest.raises(PhsError, match="lie on one line"):
        plotting.scatter(run(experiment, tmp_path / "a.h5"), contour=True)


def test_results_over_decades_get_logarithmic_colours(evaluated):
    snapshot = evaluated(lambda x, y: 10 ** (6 * x), 20, x=Random(0, 1), y=Random(0, 1))
    collection = plotting.scatter(snapshot).axes[0].collections[0]
    assert isinstance(collection.norm, LogNorm)


def test_the_best_are_darkest(tmp_path, evaluated):
    snapshot = evaluated(lambda x, y: x, 20, x=Random(0, 1), y=Random(0, 1))
    collection = plotting.scatter(snapshot).axes[0].collections[0]
    bright = collection.to_rgba(np.array([0.0, 1.0]))[:, :3].sum(axis=1)
    assert bright[0] < bright[1]


def test_wild_results_do_not_take_all_colours(evaluated):
    snapshot = evaluated(
        lambda x, y: 1e6 if x > 0.95 else x,
        60,
        x=Random(0, 1),
        y=Random(0, 1),
    )
    collection = plotting.scatter(snapshot).axes[0].collections[0]
    assert (collection.norm.vmin, collection.norm.vmax) == pytest.approx((0, 0.95), abs=0.15)


def test_animation_grows_set_by_set(tmp_path, evaluated):
    snapshot = evaluated(lambda x, y: x + y, 6, x=Random(0, 1), y=Random(0, 1))
    path = plotting.animate(snapshot, tmp_path / "a.gif", dpi=50)
    with Image.open(path) as film:
        assert film.n_frames == 6
        sums = []
        for frame in range(6):
            film.seek(frame)
            sums.append(np.asarray(film.convert("L"), float).sum())
            times = film.info["duration"]
    # Each picture has more ink than the one before; the last one stays.
    assert (np.diff(sums) < 0).all()
    assert times > 1000


def test_a_long_animation_has_as_many_frames_as_asked_for(tmp_path, evaluated):
    snapshot = evaluated(lambda x, y: x * y, 40, x=Random(0, 1), y=Random(0, 1))
    path = plotting.animate(snapshot, tmp_path / "a.gif", frames=3, dpi=40, contour=True)
    with Image.open(path) as film:
        assert film.n_frames == 3


def test_refusals(mixed, evaluated):
    with pytest.raises(PhsError, match=r"no parameter 'z'; choose of 'rate', 'layers', 'batch'"):
        plotting.scatter(mixed, "z")
    with pytest.raises(PhsError, match="'rate' is named twice"):
        plotting.scatter(mixed, "rate", "rate")
    with pytest.raises(PhsError, match=r"'optimizer': a contour needs numbers.*'rate', 'layers'"):
        plotting.scatter(mixed, "rate", "optimizer", contour=True)
    alone = evaluated(lambda x: x, x=Random(0, 1))
    with pytest.raises(PhsError, match=r"scatter shows two parameters, and .* has 'x' alone"):
        plotting.scatter(alone)
    equal = evaluated(lambda x, y: 2.0, name="equal", x=Random(0, 1), y=Random(0, 1))
    with pytest.raises(PhsError, match=r"all 8 results are equal \(2\)"):
        plotting.scatter(equal, contour=True)
    assert plotting.scatter(equal).axes[0].collections  # but no picture is refused without
    two = evaluated(lambda x, y: x, 2, name="two", x=Random(0, 1), y=Random(0, 1))
    with pytest.raises(PhsError, match="a contour: it takes 3 results, and there are 2"):
        plotting.scatter(two, contour=True)
    line = evaluated(lambda x, y: x, name="line", x=Random(0, 1), y=Choice([1.0]))
    with pytest.raises(PhsError, match="lie on one line; choose two"):
        plotting.scatter(line, "x", "y", contour=True)
