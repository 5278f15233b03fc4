import subprocess
import sys

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from results import evaluate, make_experiment, make_outcome, make_proposal, resume

from phs_mpi import analysis, plotting
from phs_mpi.errors import PhsError
from phs_mpi.experiment import Experiment
from phs_mpi.log import Source
from phs_mpi.store import open_store, read


@pytest.fixture
def path(tmp_path):
    """A complete file, with two failures."""
    path = tmp_path / "a.h5"
    resume(path, make_experiment())
    evaluate(path, make_experiment(), range(20), failed=[3, 12])
    return path


def lines(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def test_evolution_shows_sources_best_so_far_and_failures(path):
    snapshot = read(path)
    (axes,) = plotting.evolution(snapshot).axes
    shown = lines(axes)
    drawn, searched = shown["drawn"], shown["Bayesian"]
    assert drawn.get_xdata().tolist() == [i for i in range(12) if i != 3]
    assert searched.get_xdata().tolist() == list(range(13, 20))
    results = analysis.results(snapshot)
    assert searched.get_ydata().tolist() == results[13:].tolist()
    assert drawn.get_marker() != searched.get_marker()
    assert drawn.get_color() != searched.get_color()
    curve = shown["best so far"].get_ydata()
    assert curve.tolist() == analysis.best_so_far(results).tolist()
    (failed,) = (c for c in axes.collections if isinstance(c, LineCollection))
    assert [segment[0][0] for segment in failed.get_segments()] == [3, 12]
    assert axes.get_xlabel() == "parameter set"
    assert axes.get_ylabel() == "result"
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["drawn", "Bayesian", "best so far", "failed"]
    assert f"(set {analysis.best(snapshot)})" in axes.get_title()


def test_evolution_tells_sobol_from_bayesian(path):
    table = make_experiment().table()
    with open_store(path, table) as store:
        proposal = make_proposal(table, 14)
        proposal.source = Source.SOBOL
        store.commit(proposal, make_outcome(proposal))
    (axes,) = plotting.evolution(read(path)).axes
    (sobol,) = (line for label, line in lines(axes).items() if label.startswith("Sobol"))
    assert sobol.get_xdata().tolist() == [14]


@pytest.mark.parametrize(("scale", "expected"), [(1e-6, "log"), (0.5, "linear"), (-1, "linear")])
def test_results_over_decades_get_a_logarithmic_axis(tmp_path, scale, expected):
    path = tmp_path / "a.h5"
    experiment = make_experiment(2, 0)
    resume(path, experiment)
    table = experiment.table()
    with open_store(path, table) as store:
        for index, result in enumerate([scale, 1.0]):
            proposal = make_proposal(table, index)
            store.commit(proposal, make_outcome(proposal, result=result))
    (axes,) = plotting.evolution(read(path)).axes
    assert axes.get_yscale() == expected


def test_scatter_shows_values_and_circles_the_best(path):
    snapshot = read(path)
    axes, bar = plotting.scatter(snapshot).axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x", "y")
    assert bar.get_ylabel() == "result"
    best = snapshot.values(analysis.best(snapshot))
    (circle,) = axes.get_lines()
    assert (circle.get_xdata()[0], circle.get_ydata()[0]) == (best["x"], best["y"])
    points = np.concatenate([c.get_offsets() for c in axes.collections])
    assert len(points) == 18
    values = [snapshot.values(i) for i in np.flatnonzero(snapshot.done)]
    assert sorted(map(tuple, points.tolist())) == sorted((v["x"], v["y"]) for v in values)


def test_scatter_of_chosen_parameters(path):
    axes, _ = plotting.scatter(read(path), "y", "x").axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("y", "x")


def test_timeline_has_a_bar_for_each_evaluation(path):
    (axes,) = plotting.timeline(read(path)).axes
    bars = {c.get_label(): c.get_segments() for c in axes.collections}
    assert len(bars["evaluating"]) == 18
    assert len(bars["evaluating, failed"]) == 2
    assert len(bars["proposing"]) == 20
    (begin, row), (end, same_row) = bars["evaluating"][0]
    assert end - begin == pytest.approx(0.75)
    assert row == same_row == 0
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "2", "3"]


def test_save_figures(path, tmp_path):
    saved = plotting.save_figures(read(path))
    assert [p.name for p in saved] == ["a.evolution.png", "a.scatter.png", "a.timeline.png"]
    assert all(p.parent == tmp_path for p in saved)
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in saved)
    (one,) = plotting.save_figures(read(path), ["timeline"], tmp_path / "new" / "folder")
    assert one == tmp_path / "new" / "folder" / "a.timeline.png"
    assert one.exists()


def test_scatter_only_where_it_applies(tmp_path):
    path = tmp_path / "a.h5"
    experiment = Experiment(lambda x, kind: 0.0, {"x": float, "kind": ["a", "b"]})
    experiment.add(x=0.5, kind="a")
    resume(path, experiment)
    table = experiment.table()
    with open_store(path, table) as store:
        proposal = make_proposal(table, 0)
        store.commit(proposal, make_outcome(proposal, result=1.0))
    saved = plotting.save_figures(read(path))
    assert [p.name for p in saved] == ["a.evolution.png", "a.timeline.png"]
    with pytest.raises(PhsError, match="'scatter': fewer than two numeric parameters"):
        plotting.save_figures(read(path), ["scatter"])


def test_only_failures(tmp_path):
    path = tmp_path / "a.h5"
    resume(path, make_experiment())
    evaluate(path, make_experiment(), [0, 1], failed=[0, 1])
    assert [p.name for p in plotting.save_figures(read(path))] == ["a.timeline.png"]


def test_bad_input(path, tmp_path):
    with pytest.raises(PhsError, match=r"no figure 'pie'; choose of evolution, scatter, timeline"):
        plotting.save_figures(read(path), ["pie"])
    with pytest.raises(PhsError, match=r"cannot write figures in .*; name another folder"):
        plotting.save_figures(read(path), [], path / "below a file")
    resume(tmp_path / "empty.h5", make_experiment())
    with pytest.raises(PhsError, match="nothing for a figure: no result yet"):
        plotting.save_figures(read(tmp_path / "empty.h5"))


def test_pyplot_is_not_needed():
    code = "import phs_mpi.plotting, sys; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_reading_and_analysis_load_no_heavy_packages():
    heavy = "('scipy', 'sklearn', 'matplotlib', 'pandas', 'mpi4py')"
    code = f"import phs_mpi.analysis, sys; assert not [m for m in {heavy} if m in sys.modules]"
    subprocess.run([sys.executable, "-c", code], check=True)
