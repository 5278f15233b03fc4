"""Folders in which ranks cannot write together: found before the run, and rank 0 writes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from phs_mpi.store import has_mpi, probe, read

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent

EXPERIMENT = """
import os
from phs_mpi import Bayesian, Experiment, Random

def target(x):
    return x * x

experiment = Experiment(target, {"x": float}, capture=CAPTURE)
experiment.add(20, x=Random(-5, 5))
experiment.add(4, x=Bayesian(-5, 5))
"""


@pytest.fixture
def apart(launch):
    """A launcher of runs of which one rank sees the folder ``results`` differently."""
    tried = subprocess.run(["unshare", "--mount", "--uts", "true"], capture_output=True)
    if tried.returncode:
        pytest.skip("a mount namespace takes root")
    if not has_mpi():
        pytest.skip("rank 0 writes anyway with this h5py")
    folder = launch.folder / "results"
    folder.mkdir()

    def run(rank, how, capture=True):
        launch.write("experiment.py", EXPERIMENT.replace("CAPTURE", str(capture)))
        arguments = [str(rank), str(folder), how, "experiment.py", "-o", "results/out.h5"]
        return launch(4, HERE / "apart.py", *arguments, "--check-log"), folder

    return run


@pytest.mark.skipif(not has_mpi(), reason="takes an h5py with MPI")
def test_a_usual_folder_is_in_no_doubt(launch):
    done = launch(4, HERE / "probe_doubt.py", launch.folder / "a.h5")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['', '', '', '']\n"
    assert list(launch.folder.iterdir()) == []


@pytest.mark.parametrize("rank", [0, 2])
def test_a_folder_that_one_rank_does_not_share(apart, rank):
    done, folder = apart(rank, "empty")
    assert done.returncode == 0, done.stdout + done.stderr
    culprit = 1 if rank == 0 else rank
    line = f"phs_mpi: rank 0 writes the results of all workers: rank {culprit} on "
    said = [text for text in done.stderr.splitlines() if text.startswith(line)]
    assert len(said) == 1, done.stderr
    assert said[0].endswith(f"does not see the same folder {folder} as rank 0")
    assert "24 done, 0 failed" in done.stdout
    if rank == 0:
        return  # the file has gone with the file system that only rank 0 saw
    snapshot = read(folder / "out.h5", verify=True)
    assert snapshot.complete
    assert set(snapshot.columns["worker"].tolist()) >= {2}
    hosts = snapshot.rows(np.arange(24))["host"]
    assert ((hosts == b"elsewhere") == (snapshot.columns["worker"] == 2)).all()
    assert [path.name for path in folder.iterdir()] == ["out.h5"]


def test_a_folder_that_one_rank_may_only_read(apart):
    done, folder = apart(3, "read-only", capture=False)
    assert done.returncode == 0, done.stdout + done.stderr
    reason = "rank 3 on elsewhere cannot write in"
    assert f"rank 0 writes the results of all workers: {reason}" in done.stderr
    assert read(folder / "out.h5", verify=True).complete


def test_nowhere_to_keep_what_evaluations_print_is_one_message(apart):
    done, folder = apart(3, "read-only")
    assert done.returncode == 2, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    assert len(errors) == 1, done.stderr
    assert "rank 3 on elsewhere: what evaluations print cannot be kept in" in errors[0]
    assert "Read-only file system" in errors[0]
    assert "Traceback" not in done.stderr
    before = read(folder / "out.h5", verify=True)
    assert not len(before.torn)


def test_what_is_missing_in_the_trial_is_seen(tmp_path):
    pattern = np.arange(16, dtype=np.uint8)
    trial = tmp_path / "trial"
    probe._create(trial, 4, pattern)
    with pytest.raises(probe._NotWritten, match="misses what rank 0 has written"):
        probe._read_back(trial, 4, pattern)
    with probe.hdf5.open_plain(trial, "r+") as file:
        for turn in range(probe.ROUNDS):
            for rank in range(4):
                file["rows"][4 * turn + rank] = probe._row(rank, turn, pattern)[0]
        whole = file["rows"][:]
    probe._read_back(trial, 4, pattern)
    # A page that one rank wrote back over another's bytes.
    with probe.hdf5.open_plain(trial, "r+") as file:
        whole["bytes"][6, 150:] = 0
        file["rows"][...] = whole
    with pytest.raises(probe._NotWritten, match="misses what rank 2 has written"):
        probe._read_back(trial, 4, pattern)


def test_the_type_of_a_file_system_is_named():
    assert probe.file_system(Path("/proc")) == "proc"
