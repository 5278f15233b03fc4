"""The disk fills up in mid-run: one message, everything before is kept, the rest follows later."""

from __future__ import annotations

import subprocess

import h5py
import pytest

from phs_mpi.log import Status

pytestmark = pytest.mark.slow

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

TALKING = EXPERIMENT.replace("    return x", "    print('x' * 5000)\n    return x").replace(
    "capture=False", "capture=True"
)


@pytest.fixture
def small_disk(launch):
    folder = launch.folder / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system takes root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def status(folder):
    with h5py.File(folder / "out.h5", locking=False) as file:
        return file["evaluations"]["status"]


def check_it_ends_cleanly_and_goes_on(launch, folder, ranks, *options):
    (launch.folder / "fill").touch()
    done = launch.phs(ranks, "experiment.py", "-o", "disk/out.h5", *options, timeout=120)
    assert done.returncode == 2, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    assert len(errors) == 1, done.stderr
    assert "No space left on device" in errors[0]
    assert "Traceback" not in done.stderr
    before = status(folder)
    assert 20 < (before == Status.DONE).sum() < 400
    # Nothing that is the disk's fault is recorded as the target's.
    assert set(before.tolist()) <= {Status.EMPTY, Status.DONE}
    (folder / "filler").unlink()
    done = launch.phs(ranks, "experiment.py", "-o", "disk/out.h5", *options, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (status(folder) == Status.DONE).all()
    verified = launch.phs(None, "status", "--verify", "disk/out.h5")
    assert verified.returncode == 0, verified.stdout


@pytest.mark.parametrize(
    ("ranks", "options"),
    [
        (None, []),
        (4, []),
        (4, ["--rank-0-writes"]),
        (None, ["--workers", "2"]),
        (None, ["--backend", "dask", "--workers", "2"]),
        (3, ["--isolate"]),
    ],
    ids=["serial", "4", "rank 0 writes", "processes", "dask", "isolated"],
)
def test_disk_full(launch, small_disk, ranks, options):
    launch.write("experiment.py", EXPERIMENT)
    check_it_ends_cleanly_and_goes_on(launch, small_disk, ranks, *options)


@pytest.mark.parametrize(
    ("ranks", "options"),
    [(None, []), (3, []), (None, ["--workers", "2"]), (3, ["--isolate"])],
    ids=["serial", "3", "processes", "isolated"],
)
def test_disk_full_of_what_evaluations_print(launch, small_disk, ranks, options):
    launch.write("experiment.py", TALKING)
    check_it_ends_cleanly_and_goes_on(launch, small_disk, ranks, *options)


def test_a_limit_on_the_size_of_files(launch):
    launch.write("experiment.py", EXPERIMENT)
    limited = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16,) * 2)"
    )
    program = (
        f"{limited}; sys.argv[0] = 'phs_mpi'; runpy.run_module('phs_mpi', run_name='__main__')"
    )
    done = launch(None, "-c", program, "experiment.py")
    assert done.returncode == 2, done.stderr
    assert "File too large; raise the limit on file sizes (ulimit -f)" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    done = launch.phs(None, "experiment.py")
    assert done.returncode == 0, done.stderr
