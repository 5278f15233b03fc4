"""The definition of an experiment: what it accepts, what it refuses, how it describes itself."""

import json
import math
import pickle

import numpy as np
import pytest

from phs_mpi.errors import DefinitionError
from phs_mpi.experiment import Experiment, Group, Table
from phs_mpi.log import Source
from phs_mpi.parameters import expr
from phs_mpi.repeats import Repeats
from phs_mpi.strategies import Bayesian, Choice, Grid, Random


def target(x, y):
    return x + y


@pytest.fixture
def experiment():
    return Experiment(target, {"x": float, "y": int}, seed=7)


def test_defaults(experiment):
    assert experiment.names == ("x", "y")
    assert [kind.kind for kind in experiment.types.values()] == ["float", "int"]
    assert experiment.name == "target"
    assert (experiment.maximize, experiment.wait_for_all, experiment.duplicates) == (False,) * 3
    assert experiment.capture is True
    assert experiment.output_limit == 64 * 2**20
    assert experiment.metrics == ()
    assert (experiment.source, experiment.path) == ("", "")


def test_expressions():
    experiment = Experiment(target, [("x", float), ("y", expr)])
    assert experiment.expressions == ("y",)


# -- add ----------------------------------------------------------------------------------------


def test_strategies_mix_per_parameter_and_per_group(experiment):
    experiment.add(x=1, y=2)
    experiment.add(20, x=Random(-5, 5, digits=3), y=Choice([1, 2]))
    experiment.add(x=Grid(0, 1, num=3), y=Grid([1, 2]))
    experiment.add(12, x=Grid(0, 1, num=3), y=Bayesian(0, 9))
    assert len(experiment) == 39
    assert [(g.start, g.count) for g in experiment.groups] == [(0, 1), (1, 20), (21, 6), (27, 12)]
    table = experiment.table()
    assert isinstance(table, Table)
    assert isinstance(table.groups[0], Group)
    assert [table.source(i) for i in (0, 1, 21, 27)] == [
        Source.EXPLICIT,
        Source.RANDOM,
        Source.GRID,
        Source.BAYESIAN,
    ]


def test_parameters_may_have_any_name():
    experiment = Experiment(lambda **values: 0, {"self": float, "count": int, "strategies": int})
    experiment.add(3, self=Random(0, 1), count=1, strategies=2)
    assert experiment.table().defined(0)["count"] == 1


def test_one_strategy_may_serve_several_parameters():
    experiment = Experiment(target, {"x": float, "y": "int8"})
    both = Random(0, 100)
    experiment.add(5, x=both, y=both)
    values = experiment.table().defined(0)
    assert type(values["x"]) is float
    assert type(values["y"]) is np.int8


def test_a_strategy_class_stands_for_its_instance():
    experiment = Experiment(target, {"x": bool, "y": ["a", "b"]})
    experiment.add(4, x=Choice, y=Bayesian)
    with pytest.raises(DefinitionError, match="has no list of values"):
        Experiment(target, {"x": int, "y": int}).add(x=Choice, y=1)


@pytest.mark.parametrize(
    ("arguments", "strategies", "words"),
    [
        ((), {"x": 1}, "parameter 'y': it is left out in add; give each of x, y"),
        ((), {}, "parameter 'x': it is left out"),
        ((), {"x": 1, "y": 2, "z": 3}, "parameter 'z': there is no such.*parameters are x, y"),
        ((), {"x": 1, "y": 2, "count": 3}, r"write the number of sets first.*add\(20, x=...\)"),
        ((0,), {"x": 1, "y": 2}, "the number of sets=0 is out of range"),
        ((-3,), {"x": 1, "y": 2}, "out of range"),
        ((True,), {"x": 1, "y": 2}, "the number of sets=True is not a whole number"),
        ((2.0,), {"x": 1, "y": 2}, "not a whole number"),
        (("20",), {"x": 1, "y": 2}, "not a whole number"),
        ((Random(0, 1),), {"x": 1, "y": 2}, "Random is given for no parameter"),
        ((5,), {"x": Grid([1, 2]), "y": 1}, "5 sets are no multiple of the 2.*ask for 6"),
        ((10**9,), {"x": 1, "y": Bayesian(0, 1)}, "more than the 100,000,000 possible"),
        ((), {"x": Grid(0, 1, num=10**5), "y": Grid(0, 10**5, num=10**5)}, "more than"),
        ((), {"x": lambda: 1, "y": 2}, "parameter 'x': .*not a number"),
        ((), {"x": object(), "y": 2}, "parameter 'x': .*not a number"),
        ((), {"x": [1, 2], "y": 2}, r"put several values in Grid\(\[...\]\)"),
        ((), {"x": np.zeros(3), "y": 2}, "put several values in Grid"),
        ((), {"x": math.nan, "y": 2}, "NaN is not a value"),
        ((), {"x": 1, "y": 2.5}, "parameter 'y': 2.5 is not a whole number"),
        ((), {"x": int, "y": 2}, "parameter 'x': .*not a number"),
        ((3,), {"x": Random(5, 1), "y": 2}, "parameter 'x': the lower bound 5 is not below"),
    ],
)
def test_bad_groups(experiment, arguments, strategies, words):
    with pytest.raises(DefinitionError, match=words):
        experiment.add(*arguments, **strategies)
    assert experiment.groups == [], "a refused group leaves nothing behind"


def test_a_misspelt_parameter():
    experiment = Experiment(lambda **values: 0, {"learning_rate": float, "depth": int})
    with pytest.raises(DefinitionError, match="did you mean 'learning_rate'"):
        experiment.add(learning_rat=1, depth=2)


# -- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": -1}, "seed=-1 is out of range"),
        ({"seed": 1.5}, "seed=1.5 is not a whole number"),
        ({"seed": True}, "seed=True is not a whole number"),
        ({"seed": None}, "seed=None"),
        ({"maximize": 1}, "maximize=1 is not True or False"),
        ({"wait_for_all": "yes"}, "wait_for_all='yes'"),
        ({"capture": None}, "capture=None"),
        ({"duplicates": 0}, "duplicates=0"),
        ({"output_limit": 0}, "output_limit=0 is out of range"),
        ({"output_limit": "1 MB"}, "output_limit='1 MB' is not a whole number"),
        ({"metrics": "accuracy"}, r"no list of names; write \['accuracy'\]"),
        ({"metrics": 5}, "no list of names"),
        ({"metrics": ["a b"]}, "the metric 'a b' is no identifier"),
        ({"metrics": [1]}, "is no identifier"),
        ({"metrics": ["a", "a"]}, "the metric 'a' is there twice"),
        ({"metrics": ["result"]}, "no metric can be called 'result'"),
        ({"acquisition": "best"}, "acquisition='best' is unknown; give one of 'logei', 'ei', "),
        ({"surrogate": 5}, "surrogate=5 is unknown; give one of 'gp', 'random_forest', "),
        ({"repeats": 0}, "repeats=0 is out of range"),
        ({"repeats": 1.5}, "repeats=1.5 is not a whole number"),
        ({"repeats": (1, 2, 3)}, "is not a pair; write repeats=3, or repeats="),
        ({"repeats": (3, 2)}, "the most is less than the least"),
        ({"repeats": ("a", 2)}, "repeats='a' is not a whole number"),
        ({"repeats": (1, 3), "wait_for_all": True}, "same number of repeats.*write repeats=1 or"),
        ({"name": ""}, "name='' is not a name"),
        ({"name": 5}, "name=5 is not a name"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(DefinitionError, match=words):
        Experiment(target, {"x": float, "y": int}, **options)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (5, "not callable"),
        ("target", "not callable"),
        (None, "not callable"),
        (lambda x: 0, "cannot be called with the parameters"),
        (lambda x, y, z: 0, "cannot be called with the parameters"),
        (lambda: 0, "cannot be called"),
    ],
)
def test_bad_targets(bad, words):
    with pytest.raises(DefinitionError, match=words):
        Experiment(bad, {"x": float, "y": int})


def test_the_one_argument_style_is_accepted():
    Experiment(lambda parameter: 0, {"x": float, "y": int}).add(x=1, y=2)


# -- table --------------------------------------------------------------------------------------


def test_no_sets(experiment):
    with pytest.raises(DefinitionError, match=r"has no parameter sets; call its add\(\)"):
        experiment.table()


def test_the_table_is_drawn_once(experiment):
    experiment.add(3, x=Random(0, 1), y=1)
    table = experiment.table()
    assert experiment.table() is table
    experiment.add(x=1, y=1)
    assert len(experiment.table()) == 4


def test_a_new_seed_draws_a_new_table(experiment):
    experiment.add(3, x=Random(0, 1), y=1)
    before = experiment.table().values.copy()
    experiment.seed = 8
    assert (experiment.table().values["x"] != before["x"]).all()
    experiment.seed = np.int64(7)
    assert type(experiment.seed) is int
    assert (experiment.table().values == before).all()


# -- description --------------------------------------------------------------------------------


def test_the_description_is_json_and_says_what_decides_the_results():
    experiment = Experiment(
        target, {"x": float, "y": ["a", None]}, seed=3, maximize=True, metrics=["loss"], name="n"
    )
    experiment.add(5, x=Random(0, 1), y=Bayesian())
    described = experiment.describe()
    assert json.loads(json.dumps(described)) == described
    assert described["target"] == "target"
    assert described["seed"] == 3
    assert described["maximize"] is True
    assert described["metrics"] == ["loss"]
    assert [p["name"] for p in described["parameters"]] == ["x", "y"]
    assert described["groups"][0]["count"] == 5
    assert described["groups"][0]["strategies"]["y"]["categories"] == ["a", None]


def test_equal_definitions_describe_themselves_equally():
    def define():
        experiment = Experiment(target, {"x": float, "y": int})
        experiment.add(5, x=Random(0, 1), y=Choice((1, 2)))
        return experiment

    assert define().describe() == define().describe()


def test_methods_of_the_search_are_described_unless_they_are_the_default():
    def described(**options):
        return Experiment(target, {"x": float, "y": int}, **options).describe()

    assert described(acquisition="logei", surrogate="gp") == described()
    assert not {"acquisition", "surrogate"} & set(described())
    assert described(acquisition="ts")["acquisition"] == "ts"
    assert described(surrogate="extra_trees") == {**described(), "surrogate": "extra_trees"}


def test_repeats_are_described_unless_there_are_none():
    def described(**options):
        return Experiment(target, {"x": float, "y": int}, **options).describe()

    assert described(repeats=1) == described()
    assert described(repeats=3) == {**described(), "repeats": [3, 3]}
    assert described(repeats=[1, 5])["repeats"] == [1, 5]


def test_an_experiment_can_be_pickled(experiment):
    experiment.repeats = Repeats(2, 3)
    experiment.add(5, x=Random(0, 1), y=Bayesian(0, 3))
    again = pickle.loads(pickle.dumps(experiment))
    assert again.describe() == experiment.describe()
    assert (again.table().values == experiment.table().values).all()
    assert again.table().repeats == experiment.table().repeats == Repeats(2, 3)
