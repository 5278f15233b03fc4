"""No result, value or name may break a figure."""

import math

import numpy as np
import pytest
from runs import run

from phs_mpi import Bayesian, Choice, Experiment, Grid, Random, expr, plotting
from phs_mpi.plotting import Options, save_figures

XY = {"x": float, "y": float}
DRAWN = {"x": Random(0, 1), "y": Random(0, 1)}
SEARCHED = {"x": Bayesian(0, 1), "y": Bayesian(0, 1)}


def wide(x, y):
    return 1e-300 * x if x < 0.5 else 1e300


def huge(x, y):
    return -1e308 if x < 0.1 else 1e308 * x


def alike(b, **others):
    return float(b)


CASES = {
    "results over 600 decades": (wide, XY, [(20, DRAWN), (3, SEARCHED)]),
    "the largest results": (huge, XY, [(20, DRAWN), (3, SEARCHED)]),
    "infinite and huge values": (
        lambda x, y: math.atan(x),
        XY,
        [
            (None, {"x": math.inf, "y": 1.0}),
            (None, {"x": 0.0, "y": 1.7e308}),
            (20, {"x": Random(1e-3, 1, log=True), "y": Random(0, 1)}),
        ],
    ),
    "dates and complex numbers": (
        alike,
        {"a": "datetime64[D]", "b": float, "c": complex},
        [
            (
                None,
                {
                    "a": Grid([np.datetime64("2020-01-01") + i for i in range(20)]),
                    "b": Grid([0.0, 1.0]),
                    "c": 1j,
                },
            )
        ],
    ),
    "texts": (
        lambda s: len(s),
        {"s": str},
        [(None, {"s": Grid(["", "_a", "$b$", "c\nd", "é" * 30, "{x}", "\\alpha", "100 %"] * 2)})],
    ),
    "expressions": (alike, {"a": float, "b": expr}, [(20, {"a": Random(0, 1), "b": "2 * a"})]),
    "forty categories": (
        lambda c, x: c + x,
        {"c": list(range(40)), "x": float},
        [(60, {"c": Choice(), "x": Random(0, 1)}), (3, {"c": Bayesian(), "x": Bayesian(0, 1)})],
    ),
}


@pytest.mark.filterwarnings("error::RuntimeWarning", "error::UserWarning")
@pytest.mark.parametrize("case", CASES)
def test_what_can_be_drawn_is_drawn_without_a_warning(tmp_path, case):
    target, types, groups = CASES[case]
    experiment = Experiment(target, types, capture=False, duplicates=True)
    for count, strategies in groups:
        experiment.add(*[count] * (count is not None), **strategies)
    snapshot = run(experiment, tmp_path / "a.h5")
    drawn = {path.name.split(".")[1] for path in save_figures(snapshot, options=Options(dpi=40))}
    searched = any(
        strategy["strategy"] == "bayesian"
        for group in snapshot.definition["groups"]
        for strategy in group["strategies"].values()
    )
    expected = {"evolution", "timeline", "importance"}
    if len(types) > 1:
        expected |= {"scatter", "combination"}
    if searched:
        expected |= {"slices", "calibration"}
    assert drawn == expected
    if types == XY:
        (surface,) = save_figures(snapshot, options=Options(dpi=40, contour=True))
        assert surface.exists()
    assert plotting.convergence([snapshot]).axes
