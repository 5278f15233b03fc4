"""Monitor functions on every backend: real runs, real processes."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from phs_mpi.log import Status
from phs_mpi.store import read

pytestmark = pytest.mark.slow

BACKENDS = {
    "serial": (None, ("--backend", "serial")),
    "processes": (None, ("--workers", "2")),
    "dask": (None, ("--backend", "dask")),
    "mpi": (3, ()),
    "mpi-rank-0-writes": (3, ("--rank-0-writes",)),
}

FILE = """
import json, os, time
from pathlib import Path
import phs_mpi
from phs_mpi import Bayesian, Experiment, Random

HERE = Path({here!r})

def target(x):
    if phs_mpi.current().index == LAST:
        (HERE / "last").touch()
    if x > 0.8:
        raise ValueError("too <far>")
    return {{"result": x * x, "twice": 2 * x}}

def note(evaluation):
    line = [evaluation.index, dict(evaluation.values), evaluation.status.name, evaluation.result,
            dict(evaluation.metrics), evaluation.error, evaluation.best_index, os.getpid()]
    with open(HERE / "seen", "a") as file:
        print(json.dumps(line), file=file)

MORE = int(os.environ.get("MORE", "4"))
LAST = 7 + MORE
{more}
experiment = Experiment(target, {{"x": float}}, seed=1, capture=False, monitor=[{monitors}])
experiment.add(8, x=Random(-1, 1))
experiment.add(MORE, x=Bayesian(-1, 1))
"""


@pytest.fixture
def write(launch):
    def write(monitors="note", more="", name="experiment.py"):
        text = FILE.format(here=str(launch.folder), monitors=monitors, more=more)
        launch.write(name, text)

    return write


@pytest.fixture
def seen(launch):
    def seen() -> list[list]:
        path = launch.folder / "seen"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    return seen


@pytest.fixture(params=BACKENDS)
def run(request, launch):
    ranks, options = BACKENDS[request.param]
    if request.param == "dask":
        options = (*options, "--scheduler", request.getfixturevalue("dask_cluster").address)

    def run(*more: str, **env: str):
        done = launch.phs(ranks, "experiment.py", *options, *more, **env)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done, read(launch.folder / "experiment.h5")

    return run


def test_called_once_with_every_evaluation_of_this_run(run, write, seen):
    write()
    done, snapshot = run()
    lines = seen()
    assert sorted(line[0] for line in lines) == list(range(12))
    for index, values, status, result, metrics, error, *_ in lines:
        assert values == snapshot.values(index)
        assert Status[status] == snapshot.status[index]
        if snapshot.done[index]:
            assert result == snapshot.columns["result"][index]
            assert metrics == {"twice": 2 * values["x"]}
        else:
            assert error == "ValueError: too <far>"
    assert len({line[-1] for line in lines}) == 1
    assert "monitor" not in done.stderr
    # It may change, and has nothing to do with the experiment; what is done does not come again.
    write(monitors="note, note")
    run(MORE="6")
    again = seen()[len(lines) :]
    assert sorted(line[0] for line in again) == [12, 12, 13, 13]


def test_one_that_never_returns_delays_nobody(run, write, seen):
    # It waits for what happens in the last evaluation: whoever waited for it would wait for ever.
    more = """
def stuck(evaluation):
    while not (HERE / "last").exists():
        time.sleep(0.05)
"""
    write(monitors="stuck, note", more=more)
    done, snapshot = run()
    assert snapshot.complete
    assert len(seen()) == 12
    assert "missed" not in done.stderr


def test_its_errors_are_reported_and_survived(run, write, seen):
    write(
        monitors="bad, note",
        more="""
def bad(evaluation):
    raise RuntimeError(f"not set {evaluation.index}")
""",
    )
    done, snapshot = run("--quiet")
    assert snapshot.complete
    assert len(seen()) == 12
    reports = [line for line in done.stderr.splitlines() if "the monitor 'bad'" in line]
    assert len(reports) == 4
    assert "RuntimeError: not set" in reports[0]
    assert "(experiment.py:" in reports[0]
    assert "monitor functions raised 12 times" in reports[-1]


def test_one_that_is_too_slow_is_left_behind_and_the_user_knows(launch, write, seen):
    write(
        monitors="note, late",
        more="""
def late(evaluation):
    if evaluation.finished == 3:
        time.sleep(3600)
""",
    )
    done = launch.phs(3, "experiment.py")
    assert done.returncode == 0
    assert len(seen()) == 3
    assert "monitor functions missed 10 of 12 evaluations: they had 10 s" in done.stderr


def test_one_that_kills_its_process_costs_no_result(launch, write):
    write(monitors="deadly", more="def deadly(evaluation):\n    os.kill(os.getpid(), 9)\n")
    done = launch.phs(2, "experiment.py")
    assert done.returncode == 0, done.stderr
    assert read(launch.folder / "experiment.h5").complete
    assert "the process of the monitor functions ended early (signal SIGKILL)" in done.stderr
    assert "monitor functions missed 12 of 12 evaluations" in done.stderr


@pytest.mark.parametrize("ranks", [None, 2])
def test_without_a_store_it_is_said_that_they_are_not_called(ranks, launch, write, seen):
    write()
    done = launch.phs(ranks, "experiment.py", "--no-store")
    assert done.returncode == 0
    assert "monitor functions are not called" in done.stderr
    assert not seen()


def test_where_its_process_cannot_start_the_search_goes_on(launch, write, seen):
    write()
    launch.write(
        "run.py",
        """
        import tempfile, phs_mpi
        tempfile.tempdir = "/proc/none"
        phs_mpi.run("experiment.py")
        """,
    )
    done = launch(None, "run.py")
    assert done.returncode == 0, done.stderr
    assert "monitor functions are not called: their process cannot start" in done.stderr
    assert read(launch.folder / "experiment.h5").complete
    assert not seen()


SCRIPT = """
import sys
import phs_mpi
from phs_mpi import Experiment, Random

factor = 3.0

def keep(evaluation):
    with open("kept", "a") as file:
        print(evaluation.index, factor * evaluation.values["x"], file=file)

def make():
    experiment = Experiment(lambda x: x, {"x": float}, monitor=keep, capture=False)
    experiment.add(6, x=Random(0, 1))
    return experiment

from phs_mpi.backends.launching import launched_rank

results = phs_mpi.run(make(), output="r.h5", quiet=True, **eval(sys.argv[1]))
if launched_rank() == 0:
    expected = {f"{e.index} {factor * e.values['x']}" for e in results}
    assert set(open("kept").read().splitlines()) == expected, expected
"""


@pytest.mark.parametrize(
    ("ranks", "options"), [(None, {}), (None, {"workers": 2}), (3, {})], ids=str
)
def test_functions_of_a_script(launch, ranks, options):
    launch.write("script.py", SCRIPT)
    done = launch(ranks, "script.py", repr(options))
    assert done.returncode == 0, done.stderr
    assert len((launch.folder / "kept").read_text().splitlines()) == 6


def test_a_function_that_cannot_be_sent_is_one_message(launch):
    launch.write(
        "script.py",
        SCRIPT.replace("factor = 3.0", "import threading; factor = threading.Lock()"),
    )
    done = launch(2, "script.py", "{}")
    assert done.returncode != 0
    assert "the monitor 'keep' cannot be sent to another process" in done.stderr
    assert not (launch.folder / "r.h5").exists()


def test_it_ends_with_a_run_that_is_killed(launch, write, seen):
    write(
        monitors="note",
        more="""
def target(x):
    if phs_mpi.current().index == 5:
        time.sleep(3600)
    return x
""",
    )
    process = launch.start(None, "-m", "phs_mpi", "experiment.py")
    deadline = time.monotonic() + 60
    while len(seen()) < 5:
        assert time.monotonic() < deadline, process.poll()
        time.sleep(0.05)
    (pid,) = {line[-1] for line in seen()}
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    process.stderr.close()
    deadline = time.monotonic() + 30
    while alive(pid):
        assert time.monotonic() < deadline, "the process of the monitor functions goes on"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
