"""The disk fills up in mid-run: one message, everything before is kept, the rest follows later."""

from __future__ import annotations

import subprocess

import h5py
import pytest

from phs_mpi.log import Status

EXPERIMENT = """
import os, phs_mpi
from phs_mpi import Experiment, Random

def target(x):
    if phs_mpi.current().index == 30 and os.path.exists("fill"):
        os.remove("fill")
        with open("disk/filler", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
    return x

experiment = Experiment(target, {"x": float}, capture=False)
experiment.add(400, x=Random(0, 1))
"""


@pytest.fixture
def small_disk(launch):
    folder = launch.folder / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system takes root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("ranks", [None, 4])
def test_disk_full(launch, small_disk, ranks):
    launch.write("experiment.py", EXPERIMENT)
    (launch.folder / "fill").touch()
    done = launch.phs(ranks, "experiment.py", "-o", "disk/out.h5", timeout=60)
    assert done.returncode == 2, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    assert len(errors) == 1, done.stderr
    assert "disk" in errors[0]
    assert "Traceback" not in done.stderr
    with h5py.File(small_disk / "out.h5", locking=False) as file:
        before = int((file["evaluations"]["status"] == Status.DONE).sum())
    assert 20 < before < 400
    (small_disk / "filler").unlink()
    done = launch.phs(ranks, "experiment.py", "-o", "disk/out.h5", timeout=60)
    assert done.returncode == 0, done.stderr
    with h5py.File(small_disk / "out.h5", locking=False) as file:
        assert (file["evaluations"]["status"] == Status.DONE).all()
