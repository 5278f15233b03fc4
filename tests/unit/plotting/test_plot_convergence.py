import numpy as np
import pytest
from runs import run

from phs_mpi import Experiment, Random, analysis, plotting
from phs_mpi.errors import PhsError


def target(x, y):
    return x + y


@pytest.fixture
def runs(tmp_path):
    def runs(count=5, sets=12, name="r", **options):
        found = []
        for seed in range(count):
            experiment = Experiment(
                options.get("target", target),
                {"x": float, "y": float},
                seed=seed,
                capture=False,
                maximize=options.get("maximize", False),
            )
            experiment.add(sets, x=Random(0, 1), y=Random(0, 1))
            found.append(run(experiment, tmp_path / f"{name}{seed}.h5"))
        return found

    return runs


def test_median_and_quartiles_of_runs_that_differ_in_their_seed(runs):
    snapshots = runs()
    curves = np.array([analysis.best_so_far(analysis.results(s)) for s in snapshots])
    (group,) = plotting.runs_of(snapshots)
    assert group.quartiles() == pytest.approx(np.quantile(curves, [0.25, 0.5, 0.75], axis=0))
    (axes,) = plotting.convergence(snapshots).axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    median = lines["r0 … r4 (5 runs): median, quartiles"]
    assert median.get_ydata() == pytest.approx(np.median(curves, axis=0))
    assert median.get_xdata().tolist() == list(range(1, 13))
    assert len(axes.get_lines()) == 6
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices
    assert corners[:, 1].min() == pytest.approx(np.quantile(curves, 0.25, axis=0)[-1])


def test_other_experiments_get_another_colour(runs):
    first = runs(3)
    second = runs(3, sets=6, name="s")
    (axes,) = plotting.convergence([*first, *second]).axes
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [words.split(" ")[0] for words in legend] == ["r0", "s0"]
    colours = {
        line.get_label(): line.get_color()
        for line in axes.get_lines()
        if line.get_label().startswith(("r", "s"))
    }
    assert len(set(colours.values())) == 2


def test_one_file_alone(runs):
    (snapshot,) = runs(1)
    (axes,) = plotting.convergence([snapshot]).axes
    (line,) = axes.get_lines()
    assert line.get_label() == "r0"
    assert not axes.collections


@pytest.mark.parametrize("maximize", [False, True])
def test_distance_from_the_optimum(runs, maximize):
    (snapshot,) = runs(1, maximize=maximize)
    (group,) = plotting.runs_of([snapshot], optimum=2.0 if maximize else 0.0)
    best = analysis.best_so_far(analysis.results(snapshot), maximize)
    assert group.curves[0] == pytest.approx(2.0 - best if maximize else best)
    assert (np.diff(group.curves[0]) <= 0).all()


def test_an_optimum_that_is_reached_can_be_drawn(runs):
    (snapshot,) = runs(1, target=lambda x, y: 0.0 if x < 0.2 else 1e-6 if x < 0.5 else 10.0)
    figure = plotting.convergence([snapshot], optimum=0.0)
    figure.draw_without_rendering()
    assert figure.axes[0].get_yscale() == "symlog"


def test_refusals(runs):
    with pytest.raises(PhsError, match="one maximises, the other minimises"):
        plotting.convergence([*runs(1), *runs(1, name="m", maximize=True)])
    with pytest.raises(PhsError, match=r"better than the optimum 5.0; give the true one"):
        plotting.convergence(runs(1), optimum=5.0)
    with pytest.raises(PhsError, match="at least one results file"):
        plotting.convergence([])
