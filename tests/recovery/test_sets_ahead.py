"""Sets that workers have while they evaluate others, under real mpirun."""

from __future__ import annotations

import os
import re
import signal
import time

import h5py
from test_kill import children, lines, rank_of, wait_for

from phs_mpi.log import EntryKind, Status

SETS = 120

EXPERIMENT = f"""
import os, time
from phs_mpi import Experiment, Random, current

def note(text):
    descriptor = os.open("calls.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (text + "\\n").encode())
    os.close(descriptor)

def target(x):
    index = current().index
    note(f"start {{index}}")
    time.sleep(0.1)
    if FAILS(index):
        raise ValueError("no")
    while index >= 40 and not os.path.exists("go"):
        time.sleep(0.01)
    note(f"end {{index}}")
    return x

experiment = Experiment(target, {{"x": float}}, seed=1)
experiment.add({SETS}, x=Random(0, 1))
"""


def start(launch, fails, *options):
    launch.write("experiment.py", EXPERIMENT.replace("FAILS", f"(lambda index: {fails})"))
    return launch.start(3, "-m", "phs_mpi", "experiment.py", "--check-log", *options)


def rank_0(process) -> int:
    return next(pid for pid in children(process.pid) if rank_of(pid) == 0)


def contents(launch):
    with h5py.File(launch.folder / "experiment.h5", locking=False) as file:
        log = file["log"][...]
        return file["evaluations"][...], log[log["kind"] > 0]


def test_workers_go_on_while_rank_0_does_not_answer(launch):
    process = start(launch, "False")
    try:
        # Both are in the middle of one that waits, and have had the time to get the next.
        wait_for(lambda: len(lines(launch.folder, "start")) == 42, process)
        time.sleep(0.5)
        master = rank_0(process)
        os.kill(master, signal.SIGSTOP)
        (launch.folder / "go").touch()
        wait_for(lambda: len(lines(launch.folder, "start")) == 44, process)
        wait_for(lambda: len(lines(launch.folder, "end")) == 44, process)
        time.sleep(0.5)
        assert len(lines(launch.folder, "start")) == 44  # one each: no more without rank 0
        os.kill(master, signal.SIGCONT)
        _, err = process.communicate(timeout=100)
    finally:
        process.kill()
    assert process.returncode == 0, err
    rows, log = contents(launch)
    assert (rows["status"] == Status.DONE).all()
    assert sorted(lines(launch.folder, "start")) == list(range(SETS))
    assert f"3 ranks hold the same log of {2 * SETS} entries" in err
    assert set(log["kind"]) == {EntryKind.STARTED, EntryKind.COMPLETED}


def test_what_is_ahead_is_given_back_when_the_run_is_to_stop(launch):
    process = start(launch, "False")
    try:
        wait_for(lambda: len(lines(launch.folder, "start")) == 42, process)
        time.sleep(0.5)
        os.kill(rank_0(process), signal.SIGUSR1)
        time.sleep(0.5)
        (launch.folder / "go").touch()
        _, err = process.communicate(timeout=100)
    finally:
        process.kill()
    assert process.returncode == 3, err
    assert len(lines(launch.folder, "start")) == 42
    assert f"{SETS - 42} parameter sets are left" in err
    done = launch.phs(3, "experiment.py")
    assert done.returncode == 0, done.stderr
    assert sorted(lines(launch.folder, "start")) == list(range(SETS))


def test_none_where_a_row_is_on_disk_only_when_rank_0_answers(launch):
    process = start(launch, "False", "--rank-0-writes")
    try:
        wait_for(lambda: len(lines(launch.folder, "start")) == 42, process)
        time.sleep(0.5)
        master = rank_0(process)
        os.kill(master, signal.SIGSTOP)
        (launch.folder / "go").touch()
        wait_for(lambda: len(lines(launch.folder, "end")) == 42, process)
        time.sleep(1)
        assert len(lines(launch.folder, "start")) == 42
        os.kill(master, signal.SIGCONT)
        _, err = process.communicate(timeout=100)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert sorted(lines(launch.folder, "start")) == list(range(SETS))


def test_what_is_ahead_is_given_back_after_a_failure(launch):
    (launch.folder / "go").touch()
    process = start(launch, "index in (20, 33)")
    _, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert sorted(lines(launch.folder, "start")) == list(range(SETS))
    rows, log = contents(launch)
    assert [*(rows["status"] == Status.FAILED).nonzero()[0]] == [20, 33]
    assert (rows["status"] >= Status.DONE).all()
    # It should have gone on with the one that it gave back.
    given_back = log["index"][log["kind"] == EntryKind.LOST]
    assert 1 <= len(given_back) <= 2
    entries = re.search(r"3 ranks hold the same log of (\d+) entries", err)
    assert int(entries[1]) == len(log) == 2 * (SETS + len(given_back))


def test_evaluations_that_take_no_time(launch):
    launch.write(
        "experiment.py",
        """
        import time
        from phs_mpi import Experiment, Grid

        def target(n):
            if n == 1500:
                time.sleep(0.5)
            return n

        experiment = Experiment(target, {"n": int}, capture=False)
        experiment.add(n=Grid(list(range(3000))))
        """,
    )
    done = launch.phs(4, "experiment.py", "--check-log")
    assert done.returncode == 0, done.stderr
    assert "4 ranks hold the same log of 6000 entries" in done.stderr
    rows, log = contents(launch)
    assert (rows["result"] == range(3000)).all()
    completed = log["index"][log["kind"] == EntryKind.COMPLETED]
    assert sorted(completed) == list(range(3000))
