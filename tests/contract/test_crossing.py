"""An experiment that is stopped on one backend goes on with any other."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from phs_mpi.log import Source, Status

EXPERIMENT = """
import os, time
from phs_mpi import Bayesian, Experiment, Random, expr

def note(name):
    descriptor = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, b"x")
    os.close(descriptor)

def target(x, y):
    note("began")
    time.sleep(0.05)
    note("ended")
    if x > 0.9:
        raise ValueError("too large")
    return (x - 0.3) ** 2 + y

experiment = Experiment(target, {"x": float, "y": expr}, seed=1)
experiment.add(40, x=Random(0, 1), y="abs(x)")
experiment.add(40, x=Bayesian(0, 1), y="abs(x)")
"""

STAGES = {
    "mpi": (3, ()),
    "dask": (None, ("--backend", "dask", "--scheduler", "ADDRESS")),
    "processes": (None, ("--backend", "processes", "--workers", "2")),
    "serial": (None, ("--backend", "serial")),
}


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@pytest.mark.parametrize(
    "order", [("mpi", "dask", "processes"), ("processes", "mpi", "serial", "dask")]
)
def test_nothing_is_evaluated_twice_and_nothing_lost(launch, dask_cluster, order):
    launch.write("experiment.py", EXPERIMENT)
    ended = launch.folder / "ended"
    for backend in order[:-1]:
        before = size(ended)
        ranks, options = STAGES[backend]
        options = [dask_cluster.address if o == "ADDRESS" else o for o in options]
        process = launch.start(ranks, "-m", "phs_mpi", "experiment.py", *options)
        deadline = time.monotonic() + 60
        while size(ended) < before + 15:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        if ranks:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            os.kill(int(children.split()[0]), signal.SIGUSR1)  # rank 0 drains
        else:
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 3, out + err
        assert "Traceback" not in err
        with h5py.File(launch.folder / "experiment.h5", locking=False) as file:
            kept = np.isin(file["evaluations"]["status"], [Status.DONE, Status.FAILED]).sum()
        assert kept == size(ended) == size(launch.folder / "began")
    ranks, options = STAGES[order[-1]]
    options = [dask_cluster.address if o == "ADDRESS" else o for o in options]
    done = launch.phs(ranks, "experiment.py", *options)
    assert done.returncode == 0, done.stderr
    assert size(ended) == size(launch.folder / "began") == 80
    with h5py.File(launch.folder / "experiment.h5", locking=False) as file:
        rows = file["evaluations"][...]
    assert set(rows["status"]) == {Status.DONE, Status.FAILED}
    assert ((rows["status"] == Status.FAILED) == (rows["values"]["x"] > 0.9)).all()
    # Later stages learn from earlier ones.
    assert (rows["source"][41:] == Source.BAYESIAN).all()
