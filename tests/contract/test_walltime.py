"""A run that knows its end: nothing is begun that cannot be finished, and the command goes on."""

from __future__ import annotations

import time

import numpy as np
import pytest

from phs_mpi.log import Status
from phs_mpi.store import read

pytestmark = pytest.mark.slow

BACKENDS = {
    "serial": (None, ("--backend", "serial")),
    "mpi": (3, ()),
    "mpi, rank 0 writes": (3, ("--rank-0-writes",)),
    "processes": (None, ("--backend", "processes", "--workers", "2")),
    "dask": (None, ("--backend", "dask", "--scheduler", "ADDRESS")),
}

EXPERIMENT = """
import os, time
from phs_mpi import Bayesian, Experiment, Grid, Random

def target(x):
    with open("begun.txt", "a") as file:
        file.write(f"{x}\\n")
    until = time.monotonic() + SECONDS
    while not os.path.exists("fast") and time.monotonic() < until:
        time.sleep(0.05)
    return x * x

experiment = Experiment(target, {"x": float}, capture=False, seed=5)
experiment.add(60, x=Random(-1, 1))
experiment.add(4, x=Bayesian(-1, 1))
"""


@pytest.fixture(params=BACKENDS)
def run(request, launch):
    ranks, options = BACKENDS[request.param]
    if request.param == "dask":
        address = request.getfixturevalue("dask_cluster").address
        options = [address if o == "ADDRESS" else o for o in options]

    def run(*more: str, **env: str):
        done = launch.phs(ranks, "experiment.py", *options, *more, **env)
        assert "Traceback" not in done.stderr
        return done

    return run


def test_what_does_not_fit_is_not_begun(run, launch):
    launch.write("experiment.py", EXPERIMENT.replace("SECONDS", "1.5"))
    done = run("--walltime", "0:25", "--margin", "3")
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("nothing more is started: ") == 1
    assert "--walltime 0:25 --margin 3" in done.stderr.split("are left; to go on: ")[1]
    snapshot = read(launch.folder / "experiment.h5", verify=True)
    assert 0 < np.count_nonzero(snapshot.finished) < 60
    # All that was begun was finished, and is in the file.
    begun = (launch.folder / "begun.txt").read_text().split()
    rows = snapshot.rows(np.flatnonzero(snapshot.done))["values"]["x"]
    assert sorted(map(float, begun)) == sorted(rows.tolist())
    # The same command goes on. Now that evaluations of a file take nothing, all fit.
    (launch.folder / "fast").touch()
    done = run("--walltime", "60")
    assert done.returncode == 0, done.stderr
    assert "going on with experiment.h5" in done.stderr
    assert read(launch.folder / "experiment.h5").done.all()
    assert len((launch.folder / "begun.txt").read_text().split()) == 64


def test_what_overruns_the_end_is_left(run, launch):
    launch.write("experiment.py", EXPERIMENT.replace("SECONDS", "(600 if x > 0 else 0)"))
    end = int(time.time()) + 20
    # As SLURM says it.
    done = run("--margin", "4", SLURM_JOB_END_TIME=str(end), SLURM_JOB_ID="4711")
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("the time of this run is over: what still runs is left") == 1
    assert "to go on: " in done.stderr
    snapshot = read(launch.folder / "experiment.h5", verify=True)
    left = len(snapshot) - np.count_nonzero(snapshot.finished)
    assert left
    assert not len(snapshot.torn)
    # The file is free, and nothing that was finished is evaluated again.
    (launch.folder / "fast").touch()
    before = len((launch.folder / "begun.txt").read_text().split())
    done = run()
    assert done.returncode == 0, done.stderr
    assert len((launch.folder / "begun.txt").read_text().split()) == before + left
    assert (read(launch.folder / "experiment.h5").status == Status.DONE).all()


@pytest.mark.parametrize(
    ("options", "env", "said"),
    [
        (["--walltime", "soon"], {}, "'soon' is no duration; give seconds, or H:MM:SS"),
        (["--walltime", "20", "--margin", "30"], {}, "no time is left"),
        (["--requeue"], {"SLURM_JOB_ID": ""}, "there is no SLURM job that could be requeued"),
        (["--requeue"], {"SLURM_JOB_ID": "4711", "PATH": "/nowhere"}, "scontrol"),
    ],
)
@pytest.mark.parametrize("ranks", [None, 3])
def test_what_makes_no_sense_is_one_message(launch, options, env, said, ranks):
    if ranks and "PATH" in env:
        pytest.skip("mpirun needs a PATH itself")
    launch.write("experiment.py", EXPERIMENT.replace("SECONDS", "0"))
    done = launch.phs(ranks, "experiment.py", *options, **env)
    assert done.returncode != 0
    assert done.stderr.count("phs_mpi: error: ") == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (launch.folder / "experiment.h5").exists()


def test_an_end_that_has_passed_is_another_jobs(launch):
    launch.write("experiment.py", EXPERIMENT.replace("SECONDS", "0"))
    done = launch.phs(None, "experiment.py", SLURM_JOB_END_TIME="1000000000", SLURM_JOB_ID="1")
    assert done.returncode == 0, done.stderr
    assert "SLURM_JOB_END_TIME has passed" in done.stderr


def test_a_script_has_a_walltime_too(launch):
    launch.write(
        "script.py",
        """
        import time
        import phs_mpi
        from phs_mpi import Experiment, Random

        def target(x):
            time.sleep(1)
            return x

        experiment = Experiment(target, {"x": float}, capture=False)
        experiment.add(500, x=Random(0, 1))
        results = phs_mpi.run(experiment, walltime=15)
        assert not results.complete and results.best
        """,
    )
    done = launch(None, "script.py")
    assert done.returncode == 0, done.stderr
    assert "nothing more is started" in done.stderr
