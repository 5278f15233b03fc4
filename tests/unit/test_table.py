"""The table of parameter sets: rows, packing, text and CSV."""

import csv
import io
import pickle

import numpy as np
import pytest

from phs_mpi.errors import DefinitionError
from phs_mpi.experiment import Experiment
from phs_mpi.log import Source
from phs_mpi.parameters import expr
from phs_mpi.strategies import Bayesian, Choice, Grid, Random


@pytest.fixture
def table():
    experiment = Experiment(
        lambda **values: 0,
        {"x": float, "n": "int8", "opt": str, "c": ["a", None, 3], "e": expr, "b": bool},
        seed=5,
    )
    experiment.add(x=1, n=2, opt="ünï", c=None, e="x + n", b=True)
    experiment.add(x=Grid([1, 2]), n=2, opt="s", c=3, e="0", b=False)
    experiment.add(2, x=Random(0, 1), n=2, opt=Choice(["s", 't, "u"']), c="a", e="0", b=Random())
    experiment.add(1, x=1, n=Choice([1]), opt="t", c="a", e="0", b=Grid([True]))
    experiment.add(
        2, x=Bayesian(0, 1), n=Bayesian(1, 5), opt=Bayesian(["longest text", "s"]), c=Bayesian(),
        e="x * 2", b=False,
    )  # fmt: skip
    return experiment.table()


def test_columns(table):
    assert table.dtype == np.dtype(
        [("x", "f8"), ("n", "i1"), ("opt", "S12"), ("c", "S4"), ("e", "S5"), ("b", "?")]
    )
    assert len(table) == len(table.values) == 8
    assert table.group_of.dtype == np.int32
    assert table.group_of.tolist() == [0, 1, 1, 2, 2, 3, 4, 4]
    assert [(g.start, g.count) for g in table.groups] == [(0, 1), (1, 2), (3, 2), (5, 1), (6, 2)]


def test_sources(table):
    assert [table.source(i) for i in range(8)] == [
        Source.EXPLICIT, Source.GRID, Source.GRID, Source.RANDOM, Source.RANDOM, Source.CHOICE,
        Source.BAYESIAN, Source.BAYESIAN,
    ]  # fmt: skip
    assert table.bayesian(0) == ()
    assert table.bayesian(6) == ("x", "n", "opt", "c")


def test_defined_values(table):
    assert table.defined(0) == {
        "x": 1.0, "n": 2, "opt": "ünï", "c": None, "e": "x + n", "b": True,
    }  # fmt: skip
    assert type(table.defined(0)["n"]) is np.int8
    assert table.defined(6) == {"e": "x * 2", "b": False}


def test_packing(table):
    row = table.pack(6, {"x": 1, "n": 3, "opt": "longest text", "c": None})
    assert row.shape == ()
    assert row.dtype == table.dtype
    values = table.unpack(row)
    assert values == {
        "x": 1.0, "n": 3, "opt": "longest text", "c": None, "e": "x * 2", "b": False,
    }  # fmt: skip
    assert list(values) == list(table.types)
    assert table.unpack(np.frombuffer(row.tobytes(), table.dtype)[0]) == values
    assert table.values[6]["x"] == 0, "the table itself stays as it is"


def test_packing_takes_defined_values_from_the_table(table):
    assert table.unpack(table.pack(0, {"x": 99.0})) == table.defined(0)


def test_packing_refuses_what_does_not_fit(table):
    good = {"x": 1, "n": 3, "opt": "s", "c": None}
    with pytest.raises(DefinitionError, match="parameter 'n'"):
        table.pack(6, good | {"n": 2.5})
    with pytest.raises(ValueError, match="wider than the column 'opt'"):
        table.pack(6, good | {"opt": "longer than any"})
    with pytest.raises(KeyError):
        table.pack(6, {"x": 1})


def test_pickling(table):
    again = pickle.loads(pickle.dumps(table))
    assert (again.values == table.values).all()
    assert again.dtype == table.dtype
    assert [again.defined(i) for i in range(8)] == [table.defined(i) for i in range(8)]
    assert [again.source(i) for i in range(8)] == [table.source(i) for i in range(8)]


def test_a_pickled_table_is_compact():
    experiment = Experiment(lambda x: 0, {"x": float})
    experiment.add(10_000, x=Random(0, 1))
    assert len(pickle.dumps(experiment.table())) < 10_000 * 8 + 2_000


def test_csv_parses_back(table):
    stream = io.StringIO()
    table.to_csv(stream)
    parsed = list(csv.DictReader(io.StringIO(stream.getvalue())))
    assert [row["source"] for row in parsed] == [
        s.name.lower() for s in map(table.source, range(8))
    ]
    assert [int(row["index"]) for row in parsed] == list(range(8))
    assert parsed[6]["bayesian"] == "x n opt c"
    assert parsed[6]["x"] == ""
    for index, row in enumerate(parsed):
        for name, value in table.defined(index).items():
            assert row[name] == str(value)
    assert float(parsed[3]["x"]) == table.defined(3)["x"]


def test_csv_columns_never_clash():
    experiment = Experiment(lambda index: 0, {"index": int})
    experiment.add(index=7)
    stream = io.StringIO()
    experiment.table().to_csv(stream)
    assert stream.getvalue() == "index_,source_,bayesian_,index\n0,explicit,,7\n"


def test_rendering(table):
    text = table.render()
    lines = text.splitlines()
    assert lines[0].split() == ["index", "source", "x", "n", "opt", "c", "e", "b"]
    assert len(lines) == 9
    assert "~[0, 1]" in lines[7]
    assert "~{longest text, s}" in lines[7]


@pytest.mark.parametrize(("most", "shown"), [(1, [0]), (2, [0, 7]), (5, [0, 1, 2, 6, 7])])
def test_rendering_leaves_rows_out_of_the_middle(table, most, shown):
    lines = table.render(most).splitlines()
    assert [int(line.split()[0]) for line in lines[1:-1] if line[0] != "."] == shown
    assert sum(line.startswith("...") for line in lines) == 1
    assert lines[-1] == f"(8 sets, {8 - most} of them not shown)"


def test_rendering_without_a_limit(table):
    assert table.render(None) == table.render(8)
