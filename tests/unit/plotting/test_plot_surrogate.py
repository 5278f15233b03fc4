"""Slices and calibration: of real searches."""

import math

import numpy as np
import pytest
from runs import mixed_experiment, run

from phs_mpi import Bayesian, Experiment, Random, analysis, plotting
from phs_mpi.errors import PhsError
from phs_mpi.log import Source


@pytest.fixture(scope="module")
def parabola(tmp_path_factory):
    def target(x, y):
        return (x - 0.3) ** 2 + 0.01 * y

    experiment = Experiment(target, {"x": float, "y": float}, capture=False)
    experiment.add(15, x=Random(-1, 1), y=Random(-1, 1))
    experiment.add(10, x=Bayesian(-1, 1), y=Bayesian(-1, 1))
    return run(experiment, tmp_path_factory.mktemp("parabola") / "p.h5")


def test_slices_follow_the_target_through_the_best_set(parabola):
    x, y = plotting.slices_of(parabola)
    best = parabola.values(analysis.best(parabola))
    assert (x.best, y.best) == (best["x"], best["y"])
    places = np.array(x.values)
    assert (places[0], places[-1]) == (-1, 1)
    target = (places - 0.3) ** 2 + 0.01 * best["y"]
    # Far from the best it has seen little.
    assert x.mean == pytest.approx(target, abs=0.2)
    near = abs(places - best["x"]) < 0.5
    assert x.mean[near] == pytest.approx(target[near], abs=0.01)
    assert (x.low <= x.mean).all()
    assert (x.mean <= x.high).all()
    # The surrogate is surest where it has seen the result.
    assert np.ptp([x.high - x.low]) > 0
    here = int(np.argmin(abs(places - best["x"])))
    assert (x.high - x.low)[here] < (x.high - x.low).max() / 2
    assert (x.improvement >= 0).all()


def test_the_figure_shows_the_slices(parabola):
    figure = plotting.slices(parabola)
    cuts = plotting.slices_of(parabola)
    above = [axes for axes in figure.axes if axes.get_ylabel() != "EI" and not axes.get_xlabel()]
    below = [axes for axes in figure.axes if axes.get_xlabel()]
    assert [axes.get_xlabel() for axes in below] == ["x", "y"]
    for axes, cut in zip(above, cuts, strict=True):
        curve = next(line for line in axes.get_lines() if len(line.get_xdata()) == len(cut.values))
        assert curve.get_ydata().tolist() == cut.mean.tolist()
        circle = next(line for line in axes.get_lines() if line.get_label() == "best set")
        assert circle.get_ydata()[0] == np.nanmin(analysis.results(parabola))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "predicted mean ± std",
        "best set",
        "expected improvement, highest = 1",
    ]


def test_categories_integers_and_logarithms(mixed):
    cuts = {cut.dimension.name: cut for cut in plotting.slices_of(mixed)}
    assert list(cuts) == ["rate", "layers", "batch", "optimizer"]  # idle is not searched
    assert cuts["optimizer"].values == ["adam", "sgd", "$x$"]
    assert cuts["layers"].values == [1, 2, 3, 4, 5, 6]
    ratios = np.diff(np.log(cuts["rate"].values))
    assert ratios == pytest.approx(np.full(len(ratios), ratios[0]))
    figure = plotting.slices(mixed)
    scales = {axes.get_xlabel(): axes.get_xscale() for axes in figure.axes if axes.get_xlabel()}
    assert scales == {"rate": "log", "layers": "linear", "batch": "linear", "optimizer": "linear"}


def test_chosen_slices(mixed):
    assert [cut.dimension.name for cut in plotting.slices_of(mixed, ["layers"])] == ["layers"]
    with pytest.raises(PhsError, match=r"'idle' are none; choose of 'rate', 'layers', 'batch'"):
        plotting.slices(mixed, ["idle"])


def test_maximising_and_a_forest(tmp_path):
    experiment = Experiment(
        lambda x: -((x - 0.3) ** 2),
        {"x": float},
        maximize=True,
        surrogate="random_forest",
        capture=False,
    )
    experiment.add(20, x=Random(-1, 1))
    experiment.add(4, x=Bayesian(-1, 1))
    (cut,) = plotting.slices_of(run(experiment, tmp_path / "f.h5"))
    places = np.array(cut.values)
    assert cut.mean == pytest.approx(-((places - 0.3) ** 2), abs=0.4)
    assert (cut.low <= cut.high).all()


def test_nothing_to_slice(tmp_path, evaluated):
    drawn = evaluated(lambda x, y: x, x=Random(0, 1), y=Random(0, 1))
    with pytest.raises(plotting.NothingToDraw, match="no parameter is Bayesian"):
        plotting.slices(drawn)
    equal = evaluated(lambda x, y: 2.0, name="equal", x=Random(0, 1), y=Random(0, 1))
    with pytest.raises(plotting.NothingToDraw, match="all 8 results are equal"):
        plotting.slices(equal)
    one = evaluated(lambda x, y: 2.0, 1, name="one", x=Random(0, 1), y=Random(0, 1))
    with pytest.raises(plotting.NothingToDraw, match="it takes 2 results, and there is 1"):
        plotting.slices(one)


def test_calibration_shows_what_the_file_says(parabola):
    data = plotting.calibration_of(parabola)
    bayesian = np.flatnonzero(parabola.columns["source"] == Source.BAYESIAN)
    assert data.sets.tolist() == bayesian.tolist()
    assert data.mean.tolist() == parabola.columns["mean"][bayesian].tolist()
    assert data.found.tolist() == analysis.results(parabola)[bayesian].tolist()
    assert data.errors == pytest.approx((data.found - data.mean) / data.std)
    left, right = plotting.calibration(parabola).axes
    points = next(line for line in left.get_lines() if len(line.get_xdata()) == len(data.sets))
    assert points.get_xdata().tolist() == data.mean.tolist()
    assert points.get_ydata().tolist() == data.found.tolist()
    inside = 100 * np.mean(np.abs(data.errors) <= 1)
    assert f"{inside:.0f} % within ±1" in right.get_xlabel()
    area = sum(patch.get_width() * patch.get_height() for patch in right.patches)
    assert area == pytest.approx(1)


def test_failures_are_left_out_of_the_calibration(tmp_path):
    def target(x):
        if x > 0:
            raise ValueError("no")
        return x * x

    experiment = Experiment(target, {"x": float}, capture=False)
    experiment.add(8, x=Random(-1, 1))
    experiment.add(8, x=Bayesian(-1, 1))
    snapshot = run(experiment, tmp_path / "a.h5")
    data = plotting.calibration_of(snapshot)
    assert snapshot.done[data.sets].all()
    assert np.isfinite(data.errors).all()


def test_nothing_to_calibrate(tmp_path):
    drawn = run(mixed_experiment(10, 0), tmp_path / "a.h5")
    with pytest.raises(plotting.NothingToDraw, match="no Bayesian set with a prediction"):
        plotting.calibration(drawn)
    assert math.isnan(drawn.columns["mean"][0])
