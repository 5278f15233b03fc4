"""The results file written by several ranks at once."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from results import make_experiment, resume

from phs_mpi.store import has_mpi, read

PROGRAM = Path(__file__).with_name("store_commit.py")
PATHS = os.pathsep.join([str(PROGRAM.parents[1]), str(PROGRAM.parents[2])])

pytestmark = pytest.mark.skipif(not has_mpi(), reason="this h5py was built without MPI")


@pytest.fixture
def prepared(launch):
    """A launcher, a new results file, and a folder in which ranks tell what they wrote."""

    def prepare(sets: int) -> tuple[Path, Path]:
        path, told = launch.folder / "a.h5", launch.folder / "told"
        told.mkdir()
        resume(path, make_experiment(sets // 2, sets - sets // 2))
        return path, told

    return launch, prepare


def committed(told: Path) -> list[int]:
    """Rows that ranks have told about."""
    return [int(line) for file in told.iterdir() for line in file.read_text().split()]


def start(launch, ranks: int, *arguments) -> subprocess.Popen:
    return launch.start(ranks, PROGRAM, *arguments, PYTHONPATH=PATHS)


def finish(process: subprocess.Popen) -> str:
    """Its output, within a time limit."""
    try:
        out, err = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return out + err


@pytest.mark.parametrize("ranks", [1, 3, 5])
def test_every_row_of_every_rank_is_there(prepared, ranks):
    launch, prepare = prepared
    path, told = prepare(300)
    process = start(launch, ranks, path, told, "300")
    output = finish(process)
    assert process.returncode == 0, output
    snapshot = read(path, verify=True)
    assert snapshot.complete
    assert snapshot.columns["worker"].tolist() == [index % ranks for index in range(300)]
    assert snapshot.log["index"][::2].tolist() == list(range(0, 300, ranks))


def ranks_of(process: subprocess.Popen) -> list[int]:
    """Process ids of the ranks that an mpirun started on this machine."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            session = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[3])
        except (OSError, IndexError):
            continue
        # mpirun's own command line names the program too, but does not begin with Python.
        ours = os.fsencode(PROGRAM) in command[1:2]
        if ours and (session == process.pid or os.getsid(int(entry.name)) == process.pid):
            found.append(int(entry.name))
    return sorted(found)


@pytest.mark.parametrize("victims", ["one rank", "all at once"])
def test_kill_9_loses_no_committed_row(prepared, victims):
    launch, prepare = prepared
    sets = 60_000
    path, told = prepare(sets)
    process = start(launch, 3, path, told, str(sets))
    deadline = time.monotonic() + 60
    while len(committed(told)) < 1000:
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline
        time.sleep(0.01)
    during = read(path)  # a live file
    assert 0 < np.count_nonzero(during.done) < sets
    if victims == "one rank":
        os.kill(ranks_of(process)[-1], signal.SIGKILL)
    else:
        for pid in [*ranks_of(process), process.pid]:
            os.kill(pid, signal.SIGKILL)
    finish(process)
    assert process.returncode != 0
    deadline = time.monotonic() + 10
    while ranks_of(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    rows = committed(told)
    assert 1000 <= len(rows) < sets
    snapshot = read(path, verify=True)
    assert snapshot.done[rows].all()
    # Each rank may have written one row that it had no time to tell about.
    assert np.count_nonzero(snapshot.done) <= len(rows) + 3
    found = resume(path, make_experiment(sets // 2, sets - sets // 2))
    assert set(found.missing) == set(range(sets)) - set(np.flatnonzero(snapshot.done).tolist())
