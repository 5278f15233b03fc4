"""One suite, every backend: the same experiment.py must give the same file."""

from __future__ import annotations

import math
from pathlib import Path

import h5py
import numpy as np
import pytest

from phs_mpi.analysis import best, results, sources, standard_errors
from phs_mpi.explaining import differences, explain
from phs_mpi.log import Source, Status
from phs_mpi.store import read

#: Backend under test: ranks to launch (None: no launcher) and options.
BACKENDS = {
    "serial": (None, ("--backend", "serial")),
    "processes": (None, ("--backend", "processes", "--workers", "3")),
    "dask": (None, ("--backend", "dask")),
    "mpi-2": (2, ()),
    "mpi-4": (4, ()),
    "mpi-4-rank-0-writes": (4, ("--rank-0-writes",)),
}


@pytest.fixture(
    params=[pytest.param(n, marks=pytest.mark.smoke) if n == "mpi-4" else n for n in BACKENDS]
)
def run(request, launch):
    """Run experiment.py of the test's folder on the backend; returns (process, rows)."""
    ranks, options = BACKENDS[request.param]
    if request.param == "dask":
        address = request.getfixturevalue("dask_cluster").address
        options = (*options, "--scheduler", address)

    def run(*more: str, expect: int = 0):
        done = launch.phs(ranks, "experiment.py", *options, *more)
        assert done.returncode == expect, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        with h5py.File(launch.folder / "experiment.h5", locking=False) as file:
            return done, file["evaluations"][...]

    return run


def calls(folder: Path) -> list[str]:
    """Lines of the append-only log that the target itself keeps."""
    path = folder / "calls.txt"
    return path.read_text().splitlines() if path.exists() else []


CALLED = """
import os

def called(*what):
    # One write to a file opened for appending: whole lines, whoever writes at the same time.
    descriptor = os.open("calls.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (" ".join(map(repr, what)) + "\\n").encode())
    os.close(descriptor)
"""


@pytest.fixture
def experiment(launch):
    """Write experiment.py."""
    return lambda text: launch.write("experiment.py", CALLED + text)


class TestScenarios:
    def test_mixed_strategies_types_and_expr(self, run, experiment, launch):
        experiment("""
import math
import numpy as np
from phs_mpi import Bayesian, Choice, Experiment, Grid, Random, expr

def target(lr, layers, optimizer, dropout, width, flag):
    assert type(lr) is float and type(layers) is int and type(dropout) is np.float32
    assert width == math.ceil(math.sqrt(layers)) * 2, width
    called(lr, layers, optimizer, flag)
    return (math.log10(lr) + 2) ** 2 + layers / 10 + float(dropout)

experiment = Experiment(
    target,
    {"lr": float, "layers": int, "optimizer": ["adam", "sgd"], "dropout": np.float32,
     "width": expr, "flag": bool},
    seed=3,
)
shared = dict(width="math.ceil(math.sqrt(layers)) * 2", flag=True)
experiment.add(lr=0.1, layers=2, optimizer="adam", dropout=0.5, **shared)
experiment.add(lr=0.1, layers=Grid([1, 2, 3]), optimizer=Grid(["adam", "sgd"]), dropout=0.25,
               **shared)
experiment.add(6, lr=Random(1e-4, 1, log=True), layers=Random(1, 5), optimizer=Choice(["sgd"]),
               dropout=Random(0, 0.5, digits=2), **shared)
experiment.add(6, lr=Bayesian(1e-4, 1, log=True), layers=Bayesian(1, 5),
               optimizer=Bayesian(["adam", "sgd"]), dropout=Bayesian(0, 0.5), **shared)
""")
        done, rows = run()
        assert len(rows) == 19
        assert (rows["status"] == Status.DONE).all(), rows["error"]
        assert len(calls(launch.folder)) == 19
        values = rows["values"]
        assert values["lr"].min() >= 1e-4
        assert values["lr"].max() <= 1
        assert set(values["layers"]) <= {1, 2, 3, 4, 5}
        assert set(values["optimizer"]) == {b"adam", b"sgd"}
        assert values["dropout"].dtype == np.float32
        assert values["dropout"].max() <= 0.5
        assert list(rows["source"][:7]) == [Source.EXPLICIT] + [Source.GRID] * 6
        assert (rows["source"][7:13] == Source.RANDOM).all()
        assert set(rows["source"][13:]) <= {Source.SOBOL, Source.BAYESIAN}
        assert "best" in done.stdout.lower()

    def test_every_kind_of_type_reaches_the_target_and_comes_back(self, run, experiment, launch):
        experiment("""
import numpy as np
from phs_mpi import Bayesian, Choice, Experiment, Random, expr

TYPES = {
    "λ": float, "half": np.float16, "single": "float32", "long": np.longdouble, "byte": np.int8,
    "big": "uint64", "flag": np.bool_, "complex": np.complex64, "text": "U12", "raw": "S5",
    "day": "datetime64[D]", "hours": "timedelta64[h]", "word": str,
    "category": ["ä", 1, None, 2.5, True], "e": expr, "record": np.dtype([("a", "i4")]),
}

def target(**v):
    assert list(v) == list(TYPES)
    for name, spec in TYPES.items():
        if name not in ("λ", "text", "raw", "word", "category", "e"):
            assert v[name].dtype == np.dtype(spec), (name, v[name])
    assert v["e"] == [v["λ"] * k for k in range(3)]
    assert v["category"] in TYPES["category"]
    assert v["record"]["a"] == 3 and v["hours"] == np.timedelta64(5, "h")
    return v["λ"] + float(v["single"])

experiment = Experiment(target, TYPES, seed=3)
shared = dict(complex=1 + 2j, raw=b"ab", day=Choice(["2024-02-29", np.datetime64("2020-01-01")]),
              hours=np.timedelta64(5, "h"), e="[λ * k for k in range(3)]", record=(3,))
experiment.add(
    5, **shared, λ=Random(-1, 1), half=Random(0, 1, digits=1), single=Random(1e-3, 1, log=True),
    long=Random(distribution="normal", mean=0, std=1), byte=Random(-128, 127),
    big=Random(0, 2**63), flag=Random(), text=Choice(["ünï", "b"]), word=Choice(["x" * 50, "é"]),
    category=Choice(["ä", 1, None, 2.5, True]))
experiment.add(
    5, **shared, λ=Bayesian(-1, 1), half=Bayesian(0, 1, digits=1),
    single=Bayesian(1e-3, 1, log=True), long=Bayesian(-1, 1), byte=Bayesian(-128, 127),
    big=Bayesian(0, 2**63), flag=Bayesian(), text=Bayesian(["ünï", "b"]), word="é",
    category=Bayesian())
""")
        _, rows = run()
        assert (rows["status"] == Status.DONE).all(), rows["error"]
        assert set(rows["values"]["text"]) <= {"ünï".encode(), b"b"}
        done, _ = run()
        assert "nothing is left to do" in done.stderr

    def test_one_argument_style(self, run, experiment):
        experiment("""
import math
from phs_mpi import Experiment, Random, expr

def script(parameter):
    assert "x" not in globals(), "a name leaked"
    exec(parameter["hyperpar"], globals(), globals())
    open(parameter["worker_save_path"] + "/x.txt", "w").write(repr(x))
    return x + y

experiment = Experiment(script, {"x": float, "y": expr}, seed=1)
experiment.add(5, x=Random(0, 1), y="math.floor(x) + 1")
""")
        _, rows = run()
        assert (rows["status"] == Status.DONE).all(), rows["error"]
        np.testing.assert_array_equal(rows["result"], rows["values"]["x"] + 1)

    def test_failures_are_recorded_and_the_run_goes_on(self, run, experiment, launch):
        experiment("""
import sys
import numpy as np
from phs_mpi import Experiment, Grid

def target(kind):
    if kind == "raises": raise RuntimeError("no luck")
    if kind == "exits": sys.exit(4)
    if kind == "prints": sys.stdout.write("x" * 3_000_000)
    return {"none": None, "nan": float("nan"), "inf": float("inf"), "text": "0.5",
            "array": np.zeros(2)}.get(kind, 1.0)

experiment = Experiment(target, {"kind": str}, output_limit=1_000_000)
experiment.add(kind=Grid(["fine", "raises", "exits", "prints", "none", "nan", "inf", "text",
                          "array", "fine too"]))
""")
        done, rows = run()
        by_kind = {row["values"]["kind"].decode(): row for row in rows}
        failed = {k for k, row in by_kind.items() if row["status"] == Status.FAILED}
        assert failed == set(by_kind) - {"fine", "fine too"}
        reasons = {
            "raises": "RuntimeError: no luck",
            "exits": "sys.exit(4)",
            "prints": "printed more than 1,000,000 bytes",
            "none": "None",
            "nan": "nan",
            "inf": "inf",
            "text": "a str ('0.5')",
            "array": "a ndarray of shape (2,)",
        }
        for kind, reason in reasons.items():
            assert reason in by_kind[kind]["error"].decode(), kind
        assert "8 failed" in done.stdout
        with h5py.File(launch.folder / "experiment.h5", locking=False) as file:
            traceback = file["errors"][1].decode()
        assert 'raise RuntimeError("no luck")' in traceback

    def test_all_failed_is_exit_status_1(self, run, experiment):
        experiment("""
from phs_mpi import Experiment, Random

def target(x):
    raise ValueError(x)

experiment = Experiment(target, {"x": float})
experiment.add(3, x=Random(0, 1))
""")
        _, rows = run(expect=1)
        assert (rows["status"] == Status.FAILED).all()

    def test_resume_retry_and_growth(self, run, experiment, launch):
        text = """
import os
from phs_mpi import Bayesian, Experiment, Random

def target(x):
    called(x)
    if not os.path.exists("mended") and x < 0.5:
        raise RuntimeError("not mended yet")
    return x

experiment = Experiment(target, {"x": float}, seed=5)
experiment.add(8, x=Random(0, 1))
"""
        experiment(text)
        _, rows = run()
        failed = int((rows["status"] == Status.FAILED).sum())
        assert 0 < failed < 8
        assert len(calls(launch.folder)) == 8
        done, _ = run()
        assert "nothing is left to do" in done.stderr
        assert len(calls(launch.folder)) == 8
        (launch.folder / "mended").touch()
        _, rows = run("--retry-failed")
        assert (rows["status"] == Status.DONE).all()
        assert len(calls(launch.folder)) == 8 + failed
        experiment(text + "experiment.add(3, x=Bayesian(0, 1))\n")
        _, grown = run()
        assert len(grown) == 11
        assert (grown["status"] == Status.DONE).all()
        assert len(calls(launch.folder)) == 11 + failed
        np.testing.assert_array_equal(grown["result"][:8], rows["result"])

    def test_output_and_folders(self, run, experiment, launch):
        experiment("""
import ctypes
import phs_mpi
from phs_mpi import Experiment, Grid

def target(i):
    print("python", i)
    ctypes.CDLL(None).puts(b"from C")
    (phs_mpi.current().folder / "mine.txt").write_text(str(i))
    return i

experiment = Experiment(target, {"i": int})
experiment.add(i=Grid([0, 1, 2, 3]))
""")
        done, _ = run()
        assert "from C" not in done.stdout
        for index in range(4):
            folder = launch.folder / "experiment.evaluations" / f"{index:06d}"
            assert (folder / "mine.txt").read_text() == str(index)
            assert set((folder / "stdout.txt").read_text().split("\n")) == {
                f"python {index}", "from C", "",
            }  # fmt: skip
        assert not list(launch.folder.glob("experiment.evaluations/.*"))

    def test_maximize_and_metrics(self, run, experiment, launch):
        experiment("""
from phs_mpi import Bayesian, Experiment, Random

def target(x):
    return {"result": -(x - 2) ** 2, "accuracy": x / 10, "steps": 7}

experiment = Experiment(target, {"x": float}, maximize=True, metrics=["accuracy"], seed=2)
experiment.add(6, x=Random(-10, 10))
experiment.add(16, x=Bayesian(-10, 10))
""")
        _, rows = run()
        assert rows["result"].max() > -0.1
        np.testing.assert_allclose(rows["metrics"]["accuracy"], rows["values"]["x"] / 10)
        assert b'"steps": 7' in rows["more_metrics"][0]
        best = launch.phs(None, "best", "experiment.h5")
        assert best.returncode == 0
        namespace: dict = {"target": lambda **values: values}
        best_x = rows["values"]["x"][rows["result"].argmax()]
        call = next(line for line in best.stdout.splitlines() if line.startswith("target("))
        assert eval(call, namespace) == {"x": best_x}

    def test_rows_tell_who_when_and_why(self, run, experiment):
        experiment("""
import time
from phs_mpi import Bayesian, Experiment, Random

def target(x):
    time.sleep(0.02)
    return x * x

experiment = Experiment(target, {"x": float}, seed=2)
experiment.add(4, x=Random(-1, 1))
experiment.add(4, x=Bayesian(-1, 1))
""")
        done, rows = run()
        assert (rows["end"] - rows["start"] >= 0.02).all()
        assert (rows["end"] - rows["start"] < 5).all()
        assert all(rows["host"])
        bayesian = rows[rows["source"] == Source.BAYESIAN]
        assert len(bayesian)
        assert (bayesian["log_length"] > 0).all()
        assert (bayesian["proposing"] > 0).all()
        assert (rows["exchanging"] >= 0).all()
        # Before it proposes a worker has taken what the exchange brought, where there is one.
        assert (rows["exchanging"].sum() > 0) == ("backend serial" not in done.stderr)
        assert rows["exchanging"].sum() < 1
        assert np.isfinite(bayesian["mean"]).all()
        assert (bayesian["std"] > 0).all()
        assert math.isnan(rows["mean"][0])

    def test_every_set_is_repeated(self, run, experiment, launch):
        text = """
import random
import phs_mpi
from phs_mpi import Bayesian, Experiment, Random

def target(x):
    now = phs_mpi.current()
    called(now.index, now.repeat, now.seed, x)
    (now.folder / "mine.txt").write_text(str(x))
    if now.index == 2 or (now.index == 4 and now.repeat == 1):
        raise ValueError(f"repeat {now.repeat}")
    noise = random.Random(now.seed).gauss(0, 0.1)
    return {"result": (x - 1) ** 2 + noise, "noise": noise}

experiment = Experiment(target, {"x": float}, seed=1, repeats=3, metrics=["noise"])
experiment.add(6, x=Random(-5, 5))
experiment.add(5, x=Bayesian(-5, 5))
"""
        experiment(text)
        done, rows = run()
        assert "33/33" in done.stderr
        made = sorted(tuple(map(eval, line.split())) for line in calls(launch.folder))
        assert [(index, repeat) for index, repeat, *_ in made] == [
            (index, repeat) for index in range(11) for repeat in range(3)
        ]
        assert len({seed for _, _, seed, _ in made}) == 33
        # All repeats of a set have its values, Bayesian or not, and each a row of its own.
        assert rows["values"]["x"].tolist() == [x for *_, x in made]
        x = rows["values"]["x"].reshape(11, 3)
        assert (x == x[:, :1]).all()
        assert len(set(x[:, 0])) == 11
        status = rows["status"].reshape(11, 3)
        assert (status[2] == Status.FAILED).all()
        assert (status[4] == [Status.DONE, Status.FAILED, Status.DONE]).all()
        for index, repeat, _, x in made:
            folder = launch.folder / "experiment.evaluations" / f"{index:06d}.{repeat}"
            assert (folder / "mine.txt").read_text() == str(x)
        snapshot = read(launch.folder / "experiment.h5")
        means = results(snapshot)
        assert np.isnan(means[2])
        assert means[4] == pytest.approx(rows["result"][[12, 14]].mean())
        assert means[7] == pytest.approx(rows["result"][21:24].mean())
        spread = rows["result"][21:24].std(ddof=1) / math.sqrt(3)
        assert standard_errors(snapshot)[7] == pytest.approx(spread)
        assert (sources(snapshot)[6:] == Source.BAYESIAN).all()
        for index in range(6, 11):
            assert differences(snapshot, explain(snapshot, index)) == []
        # More sets and another try of what failed: nothing else is evaluated again.
        experiment(text.replace("add(5, x", "add(7, x").replace("== 2 or", "== -2 or"))
        _, grown = run("--retry-failed")
        assert len(calls(launch.folder)) == 33 + 4 + 6
        kept = np.setdiff1d(np.arange(33), [6, 7, 8, 13])
        np.testing.assert_array_equal(grown["result"][kept], rows["result"][kept])
        assert (grown["status"].reshape(13, 3) == Status.DONE).sum() == 38

    def test_contenders_get_more_repeats(self, run, experiment, launch):
        experiment("""
import random
import phs_mpi
from phs_mpi import Bayesian, Experiment, Grid

def target(x):
    now = phs_mpi.current()
    called(now.index, now.repeat)
    return x + random.Random(now.seed).gauss(0, 0.3)

experiment = Experiment(target, {"x": float}, seed=1, repeats=(1, 4))
experiment.add(x=Grid([0, 0.1, 5, 10, 20, 30, 40, 50]))
experiment.add(4, x=Bayesian(0, 50))
""")
        done, _ = run()
        snapshot = read(launch.folder / "experiment.h5")
        made = [tuple(map(int, line.split())) for line in calls(launch.folder)]
        assert len(set(made)) == len(made) == int(snapshot.finished.sum())
        assert f"{len(made)}/{len(made)}" in done.stderr
        counts = snapshot.finished.reshape(12, 4).sum(axis=1)
        assert counts.min() == 1
        assert counts[best(snapshot)] == 4
        assert counts[4:8].max() <= 2  # the first ever may have been the best for a moment
        assert snapshot.complete
        again, _ = run()
        assert "nothing is left to do" in again.stderr
        assert len(calls(launch.folder)) == len(made)

    def test_every_proposal_can_be_worked_out_again(self, run, experiment, launch):
        """From the file alone: the same bits, though sets finished in any order and some failed."""
        experiment("""
import math, time
from phs_mpi import Bayesian, Choice, Experiment, Random, expr

def target(rate, layers, kind, width):
    time.sleep(hash(str(rate)) % 5 / 1000)
    if rate > 0.5:
        raise ValueError("too fast")
    return (math.log10(rate) + 2) ** 2 + layers / 10 + (kind == "b") + width

types = {"rate": float, "layers": int, "kind": ["a", "b"], "width": expr}
experiment = Experiment(target, types, seed=3)
drawn = dict(rate=Random(1e-4, 1, log=True), layers=Random(1, 5), kind=Choice(["a", "b"]))
experiment.add(4, rate=Bayesian(1e-4, 1, log=True), layers=2, kind="a", width="1 / layers")
experiment.add(6, **drawn, width="0")
experiment.add(8, rate=Bayesian(1e-4, 1, log=True), layers=Bayesian(1, 5),
               kind=Bayesian(["a", "b"]), width="rate")
experiment.add(4, rate=0.1, layers=Random(1, 5), kind=Bayesian(["a", "b"]), width="rate")
""")
        _, rows = run()
        explained = launch.phs(None, "explain", "experiment.h5", "17")
        assert explained.returncode == 0, explained.stdout + explained.stderr
        assert "lengthscale" in explained.stdout
        snapshot = read(launch.folder / "experiment.h5", verify=True)
        for index in [*range(4), *range(10, 22)]:
            explanation = explain(snapshot, index)
            assert explanation.proposal.log_length == rows["log_length"][index]
            assert not differences(snapshot, explanation), index


@pytest.mark.parametrize("style", ["keywords", "one-argument"])
def test_wait_for_all_gives_the_same_bits_everywhere(launch, style, dask_cluster):
    target = {
        "keywords": "def target(x, y, n):\n    return f(x, y, n)",
        "one-argument": "def target(p):\n"
        "    exec(p['hyperpar'], globals(), globals())\n    return f(x, y, n)",
    }[style]
    launch.write(
        "experiment.py",
        f"""
import math, time
from phs_mpi import Bayesian, Experiment, Random

def f(x, y, n):
    time.sleep(abs(hash(str(x))) % 7 / 1000)  # workers finish in any order
    return (x * x + y * y) / 4000 - math.cos(x) * math.cos(y / math.sqrt(2)) + n / 10

{target}

experiment = Experiment(target, {{"x": float, "y": float, "n": int}}, seed=4, wait_for_all=True)
experiment.add(8, x=Random(-5, 5), y=Random(-5, 5), n=Random(0, 3))
experiment.add(8, x=Bayesian(-5, 5), y=Bayesian(-5, 5), n=Bayesian(0, 3))
experiment.add(3, x=Random(-5, 5), y=Random(-5, 5), n=1)
experiment.add(4, x=Bayesian(-5, 5), y=Random(-5, 5), n=2)
""",
    )
    values = {}
    options = {
        "processes": ("--workers", "3"),
        "dask": ("--scheduler-file", str(dask_cluster.file)),
    }
    # The style makes no difference to who proposes what: every number of ranks once is enough.
    launched = (1, 2, 4, 8) if style == "keywords" else (3,)
    for ranks in (None, *launched, *options):
        output = f"ranks-{ranks}.h5"
        if ranks in options:
            done = launch.phs(None, "experiment.py", *options[ranks], "-o", output)
        else:
            # As users run it: BLAS may take as many threads as it likes.
            done = launch.phs(ranks, "experiment.py", "-o", output, OMP_NUM_THREADS="2")
        assert done.returncode == 0, done.stderr
        with h5py.File(launch.folder / output, locking=False) as file:
            rows = file["evaluations"][...]
        assert (rows["status"] == Status.DONE).all()
        values[ranks] = rows["values"].tobytes()
    assert len(set(values.values())) == 1, [r for r in values if values[r] != values[None]]
