import numpy as np
import pytest
from runs import mixed_experiment, run

from phs_mpi import Choice, Random, plotting


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Enough sets for a forest to tell the parameters apart."""
    return run(mixed_experiment(150, 0), tmp_path_factory.mktemp("drawn") / "d.h5")


@pytest.fixture(scope="module")
def data(drawn):
    return plotting.importance_of(drawn)


def test_the_parameter_that_matters_comes_first(data):
    assert data.names[0] == "rate"
    assert set(data.names) == {"rate", "layers", "batch", "optimizer", "idle"}
    assert (np.diff(data.mean) <= 0).all()
    assert (data.low <= data.mean).all()
    assert (data.mean <= data.high).all()
    assert data.low[0] > data.high[data.names.index("idle")]
    assert 0.3 < data.explained < 1


def test_the_figure(drawn, data):
    figure = plotting.importance(drawn)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == data.names
    assert [bar.get_width() for bar in axes.patches] == np.maximum(data.mean, 0).tolist()
    (whiskers,) = axes.collections
    ends = np.array(whiskers.get_segments())[:, :, 0]
    assert ends[:, 0].tolist() == data.low.tolist()
    assert ends[:, 1].tolist() == data.high.tolist()
    assert f"explains {100 * data.explained:.0f} %" in figure.get_suptitle()


def test_some_are_shown_and_what_never_varies_is_not(evaluated, drawn):
    (axes,) = plotting.importance(drawn, ["idle", "layers"]).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["layers", "idle"]
    fixed = evaluated(lambda x, y: x, 20, x=Random(0, 1), y=Choice([1.0]))
    assert plotting.importance_of(fixed).names == ["x"]
    with pytest.raises(plotting.NothingToDraw, match="no parameter varies"):
        plotting.importance(fixed, ["y"])


def test_noise_is_said_to_be_too_little(evaluated):
    noise = iter(np.random.default_rng(0).random(40).tolist())
    snapshot = evaluated(lambda x, y: next(noise), 40, x=Random(0, 1), y=Random(0, 1))
    assert "too little to tell" in plotting.importance(snapshot).get_suptitle()


def test_refusals(evaluated):
    few = evaluated(lambda x, y: x, 5, x=Random(0, 1), y=Random(0, 1))
    with pytest.raises(plotting.NothingToDraw, match="it takes 15 results, and there are 5"):
        plotting.importance(few)
    equal = evaluated(lambda x, y: 1.0, 20, name="equal", x=Random(0, 1), y=Random(0, 1))
    with pytest.raises(plotting.NothingToDraw, match="all 20 results are equal"):
        plotting.importance(equal)
