"""Failed evaluations are tried again: elsewhere, with the same values, and it can be seen."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import DaskCluster, environment

import phs_mpi
from phs_mpi.log import Status
from phs_mpi.store import read

pytestmark = pytest.mark.slow

BACKENDS = {
    "serial": (None, ("--backend", "serial")),
    "mpi": (3, ()),
    "mpi, rank 0 writes": (4, ("--rank-0-writes",)),
    "processes": (None, ("--backend", "processes", "--workers", "2")),
    "dask": (None, ("--backend", "dask", "--scheduler", "ADDRESS")),
}

EXPERIMENT = """
import ctypes, json, os, signal, sys, time
import phs_mpi
from phs_mpi import Bayesian, Experiment, Grid, Random

def note(**what):
    # One write to a file opened for appending: whole lines, whoever writes at the same time.
    descriptor = os.open("calls.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (json.dumps(what) + "\\n").encode())
    os.close(descriptor)

def calls():
    with open("calls.txt") as file:
        return [json.loads(line) for line in file]

ENDS = {
    "raises": lambda: 1 / 0,
    "is no number": lambda: None,
    "exits": lambda: os._exit(3),
    "leaves": lambda: sys.exit(4),
    "crashes": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "hangs": lambda: time.sleep(600),
    "eats": lambda: bytearray(1 << 62),
}

def target(how, times, x):
    here = phs_mpi.current()
    note(index=here.index, repeat=here.repeat, worker=here.worker, x=x, seed=here.seed)
    mine = [c for c in calls() if (c["index"], c["repeat"]) == (here.index, here.repeat)]
    if how in ENDS and len(mine) <= times:
        return ENDS[how]()
    return x

experiment = Experiment(
    target, {"how": str, "times": int, "x": float}, capture=False, OPTIONS
)
"""


@pytest.fixture(params=BACKENDS)
def run(request, launch):
    ranks, options = BACKENDS[request.param]
    if request.param == "dask":
        address = request.getfixturevalue("dask_cluster").address
        options = [address if o == "ADDRESS" else o for o in options]

    def run(*more: str, expect: int = 0):
        done = launch.phs(ranks, "experiment.py", *options, *more)
        assert done.returncode == expect, done.stderr
        assert "Traceback" not in done.stderr
        return done, read(launch.folder / "experiment.h5", verify=True)

    run.several = request.param != "serial"
    return run


def calls(folder: Path) -> dict[tuple[int, int], list[dict]]:
    """What the target itself has written down, by set and repeat."""
    found = defaultdict(list)
    path = folder / "calls.txt"
    for line in path.read_text().splitlines() if path.exists() else ():
        call = json.loads(line)
        found[call["index"], call["repeat"]].append(call)
    return found


def write(launch, options: str, groups: str) -> None:
    launch.write("experiment.py", EXPERIMENT.replace("OPTIONS", options) + groups)


def test_each_way_to_fail(run, launch):
    write(
        launch,
        "timeout=2, retries=2",
        """
for how in [*ENDS, "works"]:
    experiment.add(how=how, times=1, x=Random(-1, 1))
experiment.add(how="crashes", times=99, x=0.5)
""",
    )
    done, snapshot = run()
    made = calls(launch.folder)
    assert [len(made[i, 0]) for i in range(9)] == [1, 1, 2, 2, 2, 2, 2, 1, 3]
    failed = [Status.FAILED] * 2
    assert snapshot.status.tolist() == [*failed, *[Status.DONE] * 6, Status.FAILED]
    assert snapshot.attempts.tolist() == [1, 1, 2, 2, 2, 2, 2, 1, 3]
    assert snapshot.error(0) == "ZeroDivisionError: division by zero"
    assert snapshot.error(8).startswith("attempt 3: was killed by SIGSEGV")
    assert [snapshot.error(i) for i in range(2, 8)] == [""] * 6
    said = [snapshot.earlier_failure(i).splitlines()[-1] for i in range(2, 7)]
    words = ["exit status 3", "SystemExit: 4", "SIGSEGV", "longer than 2 s", "MemoryError"]
    for found, word in zip(said, words, strict=True):
        assert word in found
    assert "6 evaluations were tried again, 5 of them with success" in done.stdout
    for attempts in made.values():
        assert len({(c["x"], c["seed"]) for c in attempts}) == 1
    status = launch.phs(None, "status", "experiment.h5")
    assert "6 evaluations were tried again" in status.stdout
    frame = phs_mpi.read(launch.folder / "experiment.h5")
    assert frame["attempts"].tolist() == snapshot.attempts.tolist()
    assert frame["error"].isna().tolist() == [False] * 2 + [True] * 6 + [False]


def test_proposed_values_stay(run, launch):
    write(
        launch,
        "isolate=True, retries=1, seed=3",
        """
experiment.add(4, how="works", times=0, x=Random(-1, 1))
experiment.add(8, how="exits", times=1, x=Bayesian(-1, 1))
""",
    )
    done, snapshot = run("--check-log")
    assert snapshot.done.all()
    made = calls(launch.folder)
    for index in range(4, 12):
        first, second = made[index, 0]
        assert first["x"] == second["x"] == snapshot.columns["result"][index]
    assert snapshot.attempts.tolist() == [1] * 4 + [2] * 8
    assert "8 evaluations were tried again, 8 of them with success" in done.stdout


def test_with_repeats_and_wait_for_all(run, launch):
    write(
        launch,
        "isolate=True, retries=3, repeats=2, wait_for_all=True",
        """
experiment.add(3, how="exits", times=1, x=Random(-1, 1))
experiment.add(4, how="exits", times=2, x=Bayesian(-1, 1))
""",
    )
    _, snapshot = run()
    assert snapshot.done.all()
    made = calls(launch.folder)
    for number in range(7):
        of_set = made[number, 0] + made[number, 1]
        assert len(of_set) == (4 if number < 3 else 6)
        assert len({c["x"] for c in of_set}) == 1
        assert len({c["seed"] for c in of_set}) == 2


def test_the_command_line_counts_and_may_change(run, launch):
    write(launch, "isolate=True, retries=5", 'experiment.add(2, how="raises", times=1, x=0.0)\n')
    _, snapshot = run("--retries", "0", expect=1)
    assert not snapshot.done.any()
    _, snapshot = run("--retry-failed", "--retry-on", "exception,signal")
    assert snapshot.done.all()
    assert all(len(made) == 2 for made in calls(launch.folder).values())


def test_another_worker_takes_it(run, launch):
    if not run.several:
        pytest.skip("there is one worker only")
    write(
        launch,
        "isolate=True, retries=1",
        'experiment.add(12, how="exits", times=1, x=Random(-1, 1))\n',
    )
    _, snapshot = run()
    assert snapshot.done.all()
    for first, second in calls(launch.folder).values():
        assert first["worker"] != second["worker"]


@pytest.mark.parametrize("ranks", [None, 3])
def test_a_run_that_ends_in_between_has_not_evaluated_it(launch, ranks):
    write(
        launch,
        "isolate=True, retries=1",
        """
def stops():
    if len(calls()) == 1:
        os._exit(3)
    while not os.path.exists("pid"):
        time.sleep(0.01)
    os.kill(int(open("pid").read()), signal.SIGKILL)  # the launcher, or the program itself
    time.sleep(600)

ENDS["stops"] = stops
experiment.add(how="stops", times=2, x=1.5)
""",
    )
    process = launch.start(ranks, "-m", "phs_mpi", "experiment.py")
    deadline = time.monotonic() + 60
    while len(calls(launch.folder)[0, 0]) < 2:  # the second attempt waits for the file
        assert time.monotonic() < deadline
        time.sleep(0.05)
    started = psutil.Process(process.pid).children(recursive=True)
    (launch.folder / "pid.new").write_text(str(process.pid))
    (launch.folder / "pid.new").rename(launch.folder / "pid")
    process.communicate(timeout=60)
    assert process.returncode != 0
    # Ranks end a moment after their launcher; until then the file is theirs.
    assert not psutil.wait_procs(started, timeout=30)[1]
    snapshot = read(launch.folder / "experiment.h5", verify=True)
    assert not snapshot.finished.any()
    assert not len(snapshot.torn)
    assert snapshot.attempts[0] == 1
    assert snapshot.earlier_failure(0) == "attempt 1: ended its process with exit status 3"
    status = launch.phs(None, "status", "experiment.h5")
    assert "1 to be tried again" in status.stdout
    assert "attempt 1: ended its process with exit status 3" in status.stdout
    done = launch.phs(ranks, "experiment.py")
    assert done.returncode == 0, done.stderr
    assert read(launch.folder / "experiment.h5").done.all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--retries", "-1"], "retries=-1 is no number of attempts"),
        (["--retry-on", "weather"], "retry_on='weather' is no cause; choose from exception"),
        (["--retry-on", ""], "retry_on names no cause"),
    ],
)
def test_what_makes_no_sense_is_one_message(launch, options, said):
    write(launch, "", 'experiment.add(how="works", times=0, x=1.0)\n')
    done = launch.phs(None, "experiment.py", *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


HOSTS = """
import socket, sys, time
from phs_mpi import Experiment, Random

def target(x):
    time.sleep(0.05)
    if socket.gethostname() == "n2" or WHAT:
        sys.exit(7)
    return x

experiment = Experiment(target, {"x": float}, capture=False, OPTIONS)
experiment.add(120, x=Random(-1, 1))
"""


@pytest.fixture
def hosts(launch):
    """Run on four ranks, each of which takes itself for a machine of its own."""
    unshare = shutil.which("unshare")
    if os.geteuid() or unshare is None or subprocess.run([unshare, "--uts", "true"]).returncode:
        pytest.skip("a host name of one's own needs root")

    def run(text: str, *options: str):
        launch.write("experiment.py", text)
        *mpirun, python = launch.command(4)
        rename = 'hostname "n${OMPI_COMM_WORLD_RANK:-$PMI_RANK}"; exec "$@"'
        command = [unshare, "--uts", "sh", "-c", rename, "sh", python, "-m", "phs_mpi"]
        return subprocess.run(
            [*mpirun, *command, "experiment.py", *options],
            cwd=launch.folder,
            capture_output=True,
            text=True,
            timeout=120,
            env=environment(),
        )

    return run


class TestHosts:
    def test_a_host_that_breaks_everything_is_drained(self, hosts, launch):
        done = hosts(HOSTS.replace("WHAT", "False").replace("OPTIONS", "retries=1"))
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("host n2 gets nothing more: ") == 1
        snapshot = read(launch.folder / "experiment.h5")
        assert snapshot.done.all()  # what failed there was done on another host
        rows = snapshot.rows(np.arange(120))
        assert set(rows["host"]) == {b"n1", b"n3"}
        tried = np.count_nonzero(snapshot.failed_before)
        assert 5 <= tried < 60

    def test_never_if_told_so(self, hosts, launch):
        text = HOSTS.replace("WHAT", "False").replace("OPTIONS", "retries=1")
        done = hosts(text, "--drain-host-after", "0")
        assert done.returncode == 0, done.stderr
        assert "gets nothing more" not in done.stderr
        assert read(launch.folder / "experiment.h5").done.all()

    def test_where_everything_fails_none_is(self, hosts, launch):
        done = hosts(HOSTS.replace("WHAT", "True").replace("OPTIONS", ""))
        assert done.returncode == 1, done.stderr
        assert "gets nothing more" not in done.stderr
        assert read(launch.folder / "experiment.h5").finished.all()


def test_a_worker_that_is_lost_in_the_second_attempt(launch, tmp_path_factory):
    """The values go with it: what is recorded belongs to what was evaluated in the end."""
    cluster = DaskCluster(tmp_path_factory.mktemp("cluster"), workers=3)
    try:
        text = EXPERIMENT.replace("OPTIONS", "retries=1, seed=2")
        launch.write(
            "experiment.py",
            text
            + """
def once():
    mine = [c for c in calls() if c["index"] == phs_mpi.current().index]
    if len(mine) == 1:
        sys.exit(1)
    os.kill(os.getpid(), signal.SIGKILL)

ENDS["once"] = once
experiment.add(4, how="works", times=0, x=Random(-1, 1))
experiment.add(how="once", times=2, x=Bayesian(-1, 1))
experiment.add(6, how="works", times=0, x=Bayesian(-1, 1))
""",
        )
        done = launch.phs(
            None, "experiment.py", "--backend", "dask", "--scheduler", cluster.address
        )
        assert done.returncode == 0, done.stderr
        assert "is gone; what it ran is run again" in done.stderr
    finally:
        cluster.close()
    snapshot = read(launch.folder / "experiment.h5", verify=True)
    assert snapshot.done.all()
    made = calls(launch.folder)
    assert len(made[4, 0]) == 3
    assert made[4, 0][0]["x"] == made[4, 0][1]["x"]
    for index in range(11):
        assert snapshot.values(index)["x"] == snapshot.columns["result"][index]
        assert snapshot.values(index)["x"] == made[index, 0][-1]["x"]
