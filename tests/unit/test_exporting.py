"""Results as a data frame, and in the formats of others."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import optuna
import pandas
import pytest
from pandas.api.types import is_bool_dtype, is_integer_dtype, is_string_dtype

import phs_mpi
from phs_mpi import Bayesian, Choice, Experiment, Grid, Random, expr
from phs_mpi.cli import main
from phs_mpi.errors import PhsError
from phs_mpi.exporting import export
from phs_mpi.log import Status
from phs_mpi.results import Results
from phs_mpi.store import read

TYPES = {
    "rate": float,
    "layers": int,
    "kind": ["adam", "sgd", None, 3],
    "on": bool,
    "label": str,
    "width": expr,
    "small": np.float32,
    "day": np.dtype("M8[D]"),
    "result": int,  # also the name of a column of ours
}


def target(rate, layers, kind, on, label, width, small, day, result):
    if layers == 5:
        raise ValueError("five layers, ünd mehr")
    return {"result": -math.log10(rate) + layers + (kind == "sgd"), "loss": 2.0 * layers}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished search of 6 given, 12 drawn and 8 Bayesian sets, one after the other."""
    folder = tmp_path_factory.mktemp("export")
    experiment = Experiment(
        target, TYPES, seed=4, maximize=True, metrics=["loss"], name="mixed", capture=False
    )
    given = dict(label='a, "b"', width="layers * 2", small=0.1, day="2026-02-03", result=7)
    experiment.add(rate=0.01, layers=Grid([1, 2, 5]), kind=Grid(["adam", None]), on=True, **given)
    experiment.add(
        12, rate=Random(1e-4, 1, log=True), layers=Random(1, 6), kind=Choice(), on=Choice(), **given
    )
    experiment.add(
        8, rate=Bayesian(1e-5, 1, log=True), layers=Bayesian(1, 6), kind=Bayesian(), on=Bayesian(),
        **given,
    )  # fmt: skip
    return phs_mpi.run(experiment, output=folder / "mixed.h5", quiet=True)


def test_columns_have_the_types_of_the_parameters(run):
    table = phs_mpi.read(run.path)
    assert table.index.name == "index"
    assert table.index.tolist() == list(range(26))
    assert list(table.columns)[:11] == [*TYPES, "result_", "status"]
    assert table["rate"].dtype == float
    assert table["small"].dtype == np.float32
    assert is_integer_dtype(table["layers"])
    assert is_bool_dtype(table["on"])
    assert table["kind"].cat.categories.tolist() == ["adam", "sgd", 3]
    assert is_string_dtype(table["label"])
    assert is_string_dtype(table["width"])
    assert (table["day"] == pandas.Timestamp("2026-02-03")).all()
    assert str(table["start"].dtype).endswith("UTC]")


def test_every_value_is_that_of_the_file(run):
    table = phs_mpi.read(run.path)
    assert {"failed", "done"} == set(table["status"])
    for evaluation in run:
        row = table.loc[evaluation.index]
        assert row["status"] == evaluation.status.name.lower()
        for name in ("rate", "layers", "on", "label", "width", "small", "result"):
            assert row[name] == evaluation.values[name], name
        assert row["kind"] == evaluation.values["kind"] or (
            pandas.isna(row["kind"]) and evaluation.values["kind"] is None
        )
        if evaluation.status is Status.DONE:
            assert row["result_"] == evaluation.result
            assert row["loss"] == evaluation.metrics["loss"]
            assert pandas.isna(row["error"])
        else:
            assert math.isnan(row["result_"])
            assert row["error"] == "ValueError: five layers, ünd mehr"
    assert table["source"].value_counts().to_dict() | {"bayesian": 8} == {
        **dict.fromkeys(table["source"].cat.categories, 0),
        "grid": 6,
        "random": 12,
        "bayesian": 8,
    }
    assert np.allclose(
        (table["end"] - table["start"]).dt.total_seconds(), table["seconds"], atol=1e-6
    )


@pytest.fixture
def unfinished(tmp_path):
    """A file that has been made, and in which only set 1 of 4 has been evaluated."""
    from phs_mpi.log import Outcome, Proposal, Source
    from phs_mpi.store import open_store, prepare

    experiment = Experiment(lambda **_: 0.0, {"x": float, "n": int, "b": bool, "c": ["u", "v"]})
    experiment.add(2, x=Random(0, 1), n=3, b=True, c="u")
    experiment.add(2, x=0.5, n=Bayesian(1, 9), b=Bayesian(), c=Bayesian())
    table = experiment.table()
    path = tmp_path / "begun.h5"
    prepare(path, table, experiment.describe(), "", {})
    store = open_store(path, table)
    store.commit(
        Proposal(1, table.defined(1), Source.RANDOM),
        Outcome(1, Status.DONE, 2.5, start=10.0, end=12.0, worker=1, host="h"),
    )
    store.append_log([1, 2], [1, 1])
    store.close()
    return path


def test_what_is_not_known_yet_is_missing(unfinished):
    table = phs_mpi.read(unfinished)
    assert table["x"].notna().all()
    assert table["n"].isna().tolist() == [False, False, True, True]
    assert table["b"].isna().tolist() == [False, False, True, True]
    assert table["c"].isna().tolist() == [False, False, True, True]
    assert table["n"][0] == 3
    assert table["result"].isna().tolist() == [True, False, True, True]
    assert table["status"].tolist() == ["empty", "done", "empty", "empty"]
    assert table["source"].tolist() == ["random", "random", "bayesian", "bayesian"]
    assert table["worker"].isna().tolist() == [True, False, True, True]
    assert table["seconds"][1] == 2.0


def test_repeats_are_summed_up(tmp_path):
    experiment = Experiment(lambda x: x + np.random.default_rng(phs_mpi.current().seed).normal(),
                            {"x": float}, repeats=3, name="r", capture=False)  # fmt: skip
    experiment.add(4, x=Random(0, 1))
    results = phs_mpi.run(experiment, output=tmp_path / "r.h5", quiet=True)
    table = phs_mpi.read(results.path)
    assert len(table) == 4
    assert (table["repeats"] == 3).all()
    for evaluation in results:
        assert table["result"][evaluation.index] == pytest.approx(np.mean(evaluation.repeats))
        spread = np.std(evaluation.repeats, ddof=1) / math.sqrt(3)
        assert table["standard_error"][evaluation.index] == pytest.approx(spread)


def test_csv_and_json_read_back(run, tmp_path, capsys):
    table = phs_mpi.read(run.path)
    assert main(["export", str(run.path)]) == 0
    written = capsys.readouterr().out.strip()
    assert written == str(run.path.with_suffix(".csv"))
    again = pandas.read_csv(written, index_col="index", parse_dates=["day"])
    for name in ("rate", "layers", "on", "label", "result_", "loss", "seconds"):
        assert again[name].equals(table[name].astype(again[name].dtype)), name
    assert main(["export", str(run.path), "--to", "json", "--out", "-"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [r["index"] for r in records] == list(range(26))
    assert [r["layers"] for r in records] == table["layers"].tolist()
    assert records[0]["day"].startswith("2026-02-03")


def test_parquet_reads_back_with_its_types(run, tmp_path):
    path = export(read(run.path), "parquet", tmp_path / "m.parquet")
    again = pandas.read_parquet(path)
    table = phs_mpi.read(run.path)
    for name in table.columns.drop("kind"):
        assert again[name].dtype == table[name].dtype, name
        assert again[name].equals(table[name]), name
    assert again["kind"].dropna().tolist() == table["kind"].dropna().map(str).tolist()


def test_the_optuna_study_says_the_same(run, tmp_path):
    path = export(read(run.path), "optuna", tmp_path / "m.db")
    study = optuna.load_study(study_name="mixed", storage=f"sqlite:///{path}")
    assert study.direction is optuna.study.StudyDirection.MAXIMIZE
    assert len(study.trials) == 26
    assert study.best_value == run.best.result
    assert study.best_trial.user_attrs["index"] == run.best.index
    for evaluation, trial in zip(run, study.trials, strict=True):
        done = evaluation.status is Status.DONE
        assert trial.state.name == ("COMPLETE" if done else "FAIL")
        assert (trial.value == evaluation.result) if done else trial.value is None
        for name in ("rate", "layers", "kind", "on", "label"):
            assert trial.params[name] == evaluation.values[name]
        assert trial.user_attrs["width"] == "layers * 2"
        assert done or "five layers" in trial.user_attrs["error"]
        assert not done or trial.user_attrs["loss"] == evaluation.metrics["loss"]
    distributions = study.trials[0].distributions
    assert distributions["rate"] == optuna.distributions.FloatDistribution(1e-5, 1, log=True)
    assert distributions["layers"] == optuna.distributions.IntDistribution(1, 6)
    assert distributions["kind"].choices == ("adam", "sgd", None, 3)
    # It goes on from there.
    study.sampler = optuna.samplers.TPESampler(seed=1)
    trial = study.ask(distributions)
    assert 1e-5 <= trial.params["rate"] <= 1


def test_bad_input_is_one_message(run, tmp_path, capsys, monkeypatch):
    assert main(["export", str(run.path), "--out", str(tmp_path / "none" / "x.csv")]) == 2
    assert "cannot write" in capsys.readouterr().err
    with pytest.raises(PhsError, match="the results file itself"):
        export(read(run.path), "csv", run.path)
    with pytest.raises(PhsError, match="cannot be printed"):
        export(read(run.path), "optuna", "-")
    for module, to, extra in (("pandas", "csv", "export"), ("optuna", "optuna", "optuna")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(PhsError, match=rf"needs {module}.*phs-mpi\[{extra}\]"):
            export(read(run.path), to, tmp_path / "x")
        assert list(tmp_path.iterdir()) == []


def test_a_run_imports_no_pandas(tmp_path):
    code = (
        "import sys, phs_mpi\n"
        "e = phs_mpi.Experiment(lambda x: x, {'x': float}, name='e')\n"
        "e.add(3, x=phs_mpi.Random(0, 1))\n"
        "phs_mpi.run(e, quiet=True)\n"
        "assert not {'pandas', 'optuna', 'pyarrow'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert isinstance(Results(tmp_path / "e.h5").best.result, float)
