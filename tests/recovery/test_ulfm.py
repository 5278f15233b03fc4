"""An MPI that outlives its ranks: the run goes on without a worker that is killed.

Open MPI 5 alone has that, so these run on the set-up of wheels (marker smoke).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess

import pytest
from conftest import mpirun_command
from test_kill import EXPERIMENT, children, lines, rank_of, rows, wait_for

from phs_mpi.log import Status


def has_ulfm() -> bool:
    mpirun = mpirun_command()
    if mpirun is None:
        return False
    version = subprocess.run([mpirun[0], "--version"], capture_output=True, text=True).stdout
    return re.search(r"Open MPI\)? v?([5-9]|\d\d)\.", version) is not None


pytestmark = [
    pytest.mark.smoke,
    pytest.mark.skipif(not has_ulfm(), reason="needs Open MPI 5: mpirun --with-ft ulfm"),
]


def start(launch, ranks):
    command = launch.command(ranks, "-m", "phs_mpi", "experiment.py", "--check-log")
    launch.write("experiment.py", EXPERIMENT)
    mpirun = len(mpirun_command())
    command[mpirun:mpirun] = ["--with-ft", "ulfm"]
    return launch.start_command(command)


def kill(process, *ranks):
    """kill -9 of ranks, which mpirun's own launcher has started."""
    parents = [process.pid, *children(process.pid)]
    pids = {rank_of(pid): pid for parent in parents for pid in ranks_of(parent)}
    for rank in ranks:
        os.kill(pids[rank], signal.SIGKILL)


def ranks_of(pid):
    found = []
    for child in children(pid):
        try:
            rank_of(child)
        except (StopIteration, OSError):
            continue
        found.append(child)
    return found


@pytest.mark.parametrize("dying", [[1], [3], [2, 4]], ids=str)
def test_the_run_goes_on_without_workers_that_die(launch, dying):
    process = start(launch, 5)
    wait_for(lambda: len(lines(launch.folder, "end")) >= 20, process)
    kill(process, *dying)
    out, err = process.communicate(timeout=100)
    after = rows(launch.folder)
    assert (after["status"] == Status.DONE).all(), err
    assert f"{5 - len(dying)} ranks hold the same log" in err
    for rank in dying:
        assert re.search(rf"rank {rank} has died(; set \d+ is handed out again)?$", err, re.M), err
    assert "80 done, 0 failed" in out
    # What the dead had completed is not evaluated again: at most what they were at.
    assert len(lines(launch.folder, "start")) <= 80 + len(dying)
    assert len(set(lines(launch.folder, "end"))) == 80


def test_without_any_worker_the_run_stops_and_says_how_to_go_on(launch):
    process = start(launch, 3)
    wait_for(lambda: len(lines(launch.folder, "end")) >= 10, process)
    kill(process, 1, 2)
    _, err = process.communicate(timeout=100)
    assert re.search(r"\d+ parameter sets are left; to go on: mpirun -n 3", err), err
    done = launch.phs(3, "experiment.py")
    assert done.returncode == 0, done.stderr
    assert (rows(launch.folder)["status"] == Status.DONE).all()


def test_without_rank_0_the_job_ends_with_one_line(launch):
    process = start(launch, 4)
    wait_for(lambda: len(lines(launch.folder, "end")) >= 10, process)
    kill(process, 0)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert err.count("rank 0 has died; all completed evaluations are in experiment.h5") == 1, err
    assert "Traceback" not in err
