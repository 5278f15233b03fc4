import numpy as np
import pytest
from matplotlib.collections import LineCollection
from results import evaluate, make_experiment, make_outcome, make_proposal, resume

from phs_mpi import analysis, plotting
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


def test_sources_best_so_far_and_failures(path):
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
    assert legend == ["drawn", "Bayesian", "best so far", "failed (2)"]
    assert f"(set {analysis.best(snapshot)})" in axes.get_title()


def test_sobol_and_bayesian_are_told_apart(path):
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


def test_sets_that_are_not_evaluated_yet_are_not_failures(tmp_path):
    path = tmp_path / "a.h5"
    resume(path, make_experiment())
    evaluate(path, make_experiment(), range(6), failed=[3])
    (axes,) = plotting.evolution(read(path)).axes
    assert "failed (1)" in [text.get_text() for text in axes.get_legend().get_texts()]
    assert lines(axes)["drawn"].get_xdata().tolist() == [0, 1, 2, 4, 5]


def test_a_real_run(mixed):
    (axes,) = plotting.evolution(mixed).axes
    shown = lines(axes)
    points = len(shown["drawn"].get_xdata()) + len(shown["Bayesian"].get_xdata())
    assert points == np.count_nonzero(mixed.done)
