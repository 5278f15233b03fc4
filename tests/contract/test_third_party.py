"""A backend of another package, registered by an entry point."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import pytest

from phs_mpi.log import Status

HERE = Path(__file__).resolve().parent


@pytest.fixture
def installed(tmp_path_factory) -> Path:
    """A folder with the thread backend as an installed distribution."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(HERE / "thread_backend.py", folder)
    info = folder / "phs_threads-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: phs-threads\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[phs_mpi.backends]\nthreads = thread_backend:run\n")
    return folder


EXPERIMENT = """
import threading
import phs_mpi
from phs_mpi import Bayesian, Experiment, Random, expr

def target(x, y):
    assert threading.current_thread() is not threading.main_thread()
    assert phs_mpi.current().values["x"] == x
    if x > 1.5:
        raise ValueError("too far")
    return (x - 1) ** 2 + y

experiment = Experiment(target, {"x": float, "y": expr}, seed=2, wait_for_all=True)
experiment.add(10, x=Random(-5, 5), y="abs(x)")
experiment.add(8, x=Bayesian(-5, 5), y="abs(x)")
"""


def test_a_registered_backend_runs_like_ours(launch, installed):
    launch.write("experiment.py", EXPERIMENT)
    done = launch.phs(None, "experiment.py", "--backend", "threads", PYTHONPATH=str(installed))
    assert done.returncode == 0, done.stderr
    with h5py.File(launch.folder / "experiment.h5", locking=False) as file:
        threads = file["evaluations"][...]
    assert set(threads["status"]) == {Status.DONE, Status.FAILED}
    launch.write("experiment.py", EXPERIMENT.replace("assert threading", "# assert threading"))
    done = launch.phs(None, "experiment.py", "-o", "serial.h5")
    assert done.returncode == 0, done.stderr
    with h5py.File(launch.folder / "serial.h5", locking=False) as file:
        serial = file["evaluations"][...]
    assert threads["values"].tobytes() == serial["values"].tobytes()


def test_a_backend_takes_less_than_a_hundred_lines():
    assert len((HERE / "thread_backend.py").read_text().splitlines()) < 100


def test_an_unknown_backend_is_refused_with_those_there_are(launch, installed):
    launch.write("experiment.py", EXPERIMENT)
    done = launch.phs(None, "experiment.py", "--backend", "tasks", PYTHONPATH=str(installed))
    assert done.returncode == 2
    assert "there is no backend 'tasks'" in done.stderr
    assert "serial, threads" in done.stderr
