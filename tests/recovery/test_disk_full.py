"""The disk fills up in mid-run: one message, everything before is kept, the rest follows later."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

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
    deadline = time.monotonic() + 30
    while subprocess.run(["umount", str(folder)]).returncode:  # in use by what is just ending
        assert time.monotonic() < deadline
        time.sleep(0.1)


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


QUOTA = """
import os
from phs_mpi import Experiment, Grid

def target(x):
    with open("calls.txt", "a") as file:
        file.write(f"{x}\\n")
    if x == 5 and os.path.exists("almost"):
        os.rename("almost", "used-up")
    return x

experiment = Experiment(target, {"x": int}, capture=False)
experiment.add(x=Grid(0, 11, 12))
"""


@pytest.fixture
def quota(launch, monkeypatch):
    """A sign: while this file is there, no results file can be written."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("simulating a quota takes a C compiler")
    library = launch.folder / "quota.so"
    source = Path(__file__).parent.with_name("quota.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    sign = launch.folder / "used-up"
    monkeypatch.setenv("NO_QUOTA_WHILE", str(sign))
    monkeypatch.setenv("LD_PRELOAD", str(library))
    launch.write("experiment.py", QUOTA)
    (launch.folder / "almost").touch()
    return sign


def check_quota_message(done, *what):
    assert done.returncode == 2, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if "error:" in line and "phs_mpi" in line]
    assert len(errors) == 1, done.stderr
    assert any(f"cannot write {each}" in errors[0] for each in what)
    assert "Disk quota exceeded; make room within your quota" in errors[0]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("ranks", "options"),
    [
        (None, []),
        (3, []),
        (3, ["--rank-0-writes"]),
        (None, ["--workers", "2"]),
        (None, ["--backend", "dask", "--workers", "2"]),
        (3, ["--isolate"]),
    ],
    ids=["serial", "3", "rank 0 writes", "processes", "dask", "isolated"],
)
def test_quota_used_up_in_mid_run(launch, quota, ranks, options):
    done = launch.phs(ranks, "experiment.py", *options, timeout=120)
    # The log is written now and then: on a slow machine it may be the first to be refused.
    check_quota_message(done, "the row of evaluation", "the log")
    with h5py.File(launch.folder / "experiment.h5", locking=False) as file:
        before = file["evaluations"]["status"] == Status.DONE
    assert 0 < before.sum() < 12
    quota.unlink()
    done = launch.phs(ranks, "experiment.py", *options, timeout=120)
    assert done.returncode == 0, done.stderr
    verified = launch.phs(None, "status", "--verify", "experiment.h5")
    assert verified.returncode == 0, verified.stdout
    calls = (launch.folder / "calls.txt").read_text().split()
    assert sorted(set(map(int, calls))) == list(range(12))
    again = {int(x) for x in calls if calls.count(x) > 1}
    assert not again & set(before.nonzero()[0].tolist())


@pytest.mark.parametrize("ranks", [None, 3], ids=["serial", "3"])
def test_quota_used_up_before_a_run_goes_on(launch, quota, ranks):
    assert launch.phs(ranks, "experiment.py", timeout=120).returncode == 2
    done = launch.phs(ranks, "experiment.py", timeout=120)
    check_quota_message(done, "what a killed run left open")
    quota.unlink()
    assert launch.phs(ranks, "experiment.py", timeout=120).returncode == 0
