"""The MPI backend under real mpirun."""

from __future__ import annotations

import os
import re

import h5py
import numpy as np
import pytest

from phs_mpi.log import EntryKind, Source, Status

SLEEPER = """
import os, time
from phs_mpi import Bayesian, Experiment, Random

def target(x):
    descriptor = os.open("calls.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (repr(x) + "\\n").encode())
    os.close(descriptor)
    time.sleep({seconds})
    return x

experiment = Experiment(target, {{"x": float}}, seed=1)
experiment.add({drawn}, x=Random(-5, 5))
"""


def read(path):
    with h5py.File(path, locking=False) as file:
        return file["evaluations"][...], file["log"][...]


@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_every_set_is_evaluated_once_and_all_ranks_hold_one_log(launch, ranks):
    launch.write("experiment.py", SLEEPER.format(seconds=0.01, drawn=40))
    done = launch.phs(ranks, "experiment.py", "--check-log")
    assert done.returncode == 0, done.stderr
    assert f"{ranks} ranks hold the same log of 80 entries" in done.stderr
    rows, log = read(launch.folder / "experiment.h5")
    assert (rows["status"] == Status.DONE).all()
    assert len((launch.folder / "calls.txt").read_text().splitlines()) == 40
    assert set(rows["worker"]) == set(range(1, ranks))
    completed = log["index"][log["kind"] == EntryKind.COMPLETED]
    assert sorted(completed) == list(range(40))


@pytest.mark.slow
def test_64_ranks_share_two_hundred_short_evaluations(launch):
    launch.write("experiment.py", SLEEPER.format(seconds=0.05, drawn=200))
    done = launch.phs(64, "experiment.py", "--check-log", timeout=400)
    assert done.returncode == 0, done.stderr
    assert "64 ranks hold the same log of 400 entries" in done.stderr
    rows, _ = read(launch.folder / "experiment.h5")
    assert (rows["status"] == Status.DONE).all()
    calls = (launch.folder / "calls.txt").read_text().splitlines()
    assert sorted(map(float, calls)) == sorted(rows["values"]["x"])


def test_bayesian_sets_do_not_idle_while_there_is_no_result(launch):
    launch.write(
        "experiment.py",
        SLEEPER.format(seconds=0.2, drawn=1) + "experiment.add(9, x=Bayesian(-5, 5))\n",
    )
    done = launch.phs(4, "experiment.py", "--check-log")
    assert done.returncode == 0, done.stderr
    rows, _ = read(launch.folder / "experiment.h5")
    assert rows["source"][1] == rows["source"][2] == Source.SOBOL
    assert (rows["source"][5:] == Source.BAYESIAN).all()
    # The first three evaluations run side by side.
    assert rows["start"][:3].max() < rows["end"][:3].min()
    assert len(np.unique(rows["values"]["x"])) == 10


def test_without_thread_multiple_results_travel_between_evaluations(launch):
    launch.write(
        "experiment.py",
        SLEEPER.format(seconds=0.01, drawn=20) + "experiment.add(6, x=Bayesian(-5, 5))\n",
    )
    done = launch.phs(3, "experiment.py", "--check-log", PHS_MPI_THREAD_LEVEL="funneled")
    assert done.returncode == 0, done.stderr
    assert "does not allow calls from several threads" in done.stderr
    assert "3 ranks hold the same log" in done.stderr
    rows, _ = read(launch.folder / "experiment.h5")
    assert (rows["status"] == Status.DONE).all()
    assert (rows["log_length"][-3:] > 0).all()


def test_idle_ranks_do_not_spin(launch):
    launch.write("experiment.py", SLEEPER.format(seconds=3, drawn=3))
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = launch.phs(4, "experiment.py")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    # Starting four Pythons costs a few seconds; one spinning rank would add three more,
    # four of them twelve.
    print(f"CPU time of the job: {used:.1f} s")
    assert used < 9


def test_ranks_that_wait_for_the_end_do_not_spin(launch):
    launch.write(
        "experiment.py",
        """
        import os, time
        from phs_mpi import Experiment, Random

        def tell(evaluation):
            time.sleep(6)  # the job ends when it has been told

        def target(x):
            return x

        experiment = Experiment(target, {"x": float}, monitor=tell)
        experiment.add(1, x=Random(0, 1))
        """,
    )
    before = os.times()
    done = launch.phs(8, "experiment.py")
    after = os.times()
    assert done.returncode == 0, done.stderr
    assert after.elapsed - before.elapsed > 6
    # Starting eight Pythons takes 4 to 6 s of processor time; ranks that spin would add 6 s a core.
    used = sum(after[2:4]) - sum(before[2:4])
    assert used < 4 + 0.5 * 6 * min(os.cpu_count(), 8)


@pytest.mark.parametrize("option", [(), ("--rank-0-writes",)])
def test_rows_longer_than_what_leaves_at_once(launch, option):
    launch.write(
        "experiment.py",
        """
        from phs_mpi import Experiment

        def target(x, text):
            if x % 2:
                raise ValueError("no" * 50_000)
            return len(text)

        experiment = Experiment(target, {"x": int, "text": str}, capture=False)
        for x in range(12):
            experiment.add(x=x, text=f"{x:04d}" * 25_000)
        """,
    )
    done = launch.phs(3, "experiment.py", *option)
    assert done.returncode == 0, done.stderr
    rows, _ = read(launch.folder / "experiment.h5")
    assert rows["status"].tolist() == [Status.DONE, Status.FAILED] * 6
    assert rows["result"][::2].tolist() == [100_000] * 6


def test_one_rank_falls_back_to_serial(launch):
    launch.write("experiment.py", SLEEPER.format(seconds=0, drawn=3))
    done = launch.phs(1, "experiment.py")
    assert done.returncode == 0, done.stderr
    assert len((launch.folder / "calls.txt").read_text().splitlines()) == 3


def test_singletons_instead_of_ranks_are_told_apart(launch):
    """mpirun of one MPI with the library of another starts N programs of one rank."""
    launch.write("experiment.py", SLEEPER.format(seconds=0, drawn=3))
    for rank, lines in (("0", 1), ("3", 0)):
        done = launch.phs(None, "experiment.py", PMI_SIZE="4", PMI_RANK=rank)
        assert done.returncode == 2
        assert done.stderr.count("error:") == lines
    assert not (launch.folder / "calls.txt").exists()
    done = launch.phs(None, "experiment.py", PMI_SIZE="4", PMI_RANK="0")
    assert re.search(r"started 4 ranks, but this MPI .* sees 1", done.stderr)


def test_an_error_inside_a_rank_ends_the_job_with_its_message(launch):
    """A defect of ours on a worker: no hang, and the rank's own traceback."""
    launch.write(
        "experiment.py",
        SLEEPER.format(seconds=0.01, drawn=40)
        + """
import phs_mpi.worker
evaluate = phs_mpi.worker.Worker.evaluate
def broken(self, proposal):
    if proposal.index == 11:
        raise ZeroDivisionError("a defect")
    return evaluate(self, proposal)
phs_mpi.worker.Worker.evaluate = broken
""",
    )
    done = launch.phs(4, "experiment.py", timeout=60)
    assert done.returncode == 70, done.stderr
    assert re.search(r"phs_mpi: rank [123] on \S+ cannot go on", done.stderr)
    assert "ZeroDivisionError: a defect" in done.stderr


def test_progress_and_summary(launch):
    launch.write("experiment.py", SLEEPER.format(seconds=0.01, drawn=12))
    done = launch.phs(3, "experiment.py")
    assert "12/12 evaluated, best" in done.stderr
    for word in ("best", "evaluating", "proposing", "waiting", "target(x="):
        assert word in done.stdout, done.stdout
    quiet = launch.phs(3, "experiment.py", "--quiet", "-o", "other.h5")
    assert quiet.returncode == 0
    assert quiet.stdout == ""
    assert "evaluated" not in quiet.stderr


def test_a_target_that_holds_the_gil_holds_up_nobody_else(launch):
    """A C extension that keeps Python's global lock: no thread of that rank runs meanwhile.

    The sets before it are short: the worker has no time to get anything under way.
    """
    launch.write(
        "experiment.py",
        """
        import ctypes, time
        from phs_mpi import Bayesian, Experiment, Grid

        def target(n):
            if n == 8:
                ctypes.PyDLL(None).usleep(6_000_000)  # PyDLL keeps the lock, unlike CDLL
            else:
                time.sleep(0.05 if n >= 12 else 0.001)
            return float(n % 7)

        experiment = Experiment(target, {"n": int}, seed=1)
        experiment.add(n=Grid(list(range(12))))
        experiment.add(60, n=Bayesian(100, 1000))
        """,
    )
    done = launch.phs(5, "experiment.py", "--check-log")
    assert done.returncode == 0, done.stderr
    rows, _ = read(launch.folder / "experiment.h5")
    held = rows[8]
    others = rows[12:][(rows["start"][12:] > held["start"] + 1) & (rows["end"][12:] < held["end"])]
    assert len(others) >= 10, "the others stood still"
    # They saw each other's results meanwhile.
    assert others["log_length"].max() >= others["log_length"].min() + 10


def test_an_isolated_target_that_holds_the_gil_holds_up_nobody_at_all(launch):
    """However short the sets before it are: the lock that is held is another process's."""
    launch.write(
        "experiment.py",
        """
        import ctypes, time
        from phs_mpi import Bayesian, Experiment, Grid

        def target(n):
            if n == 8:
                ctypes.PyDLL(None).usleep(4_000_000)
            else:
                time.sleep(0.02)
            return float(n % 7)

        experiment = Experiment(target, {"n": int}, seed=1, isolate=True)
        experiment.add(n=Grid(list(range(12))))
        experiment.add(80, n=Bayesian(100, 1000))
        """,
    )
    done = launch.phs(5, "experiment.py", "--check-log")
    assert done.returncode == 0, done.stderr
    rows, _ = read(launch.folder / "experiment.h5")
    held = rows[8]
    assert held["end"] - held["start"] > 3.9
    others = rows[12:][(rows["start"][12:] > held["start"]) & (rows["end"][12:] < held["end"])]
    assert len(others) >= 20, "the others stood still"
    assert others["log_length"].max() >= others["log_length"].min() + 30
