"""What only worker processes can do: die one by one."""

from __future__ import annotations

import os
import signal
import time

import h5py
import numpy as np
import pytest

from phs_mpi.log import Status

DYING = """
import ctypes, os, signal, time
from phs_mpi import Bayesian, Experiment, Grid

def target(n):
    if n == 2: os._exit(0)
    if n == 4: os.kill(os.getpid(), signal.SIGKILL)
    if n == 5: ctypes.string_at(0)
    if n > 20: os.kill(os.getpid(), signal.SIGKILL)
    return n

experiment = Experiment(target, {"n": int}, seed=1)
experiment.add(n=Grid(list(range(10))))
experiment.add(4, n=Bayesian(10, 20))
experiment.add(2, n=Bayesian(30, 40))
"""


def rows(launch):
    with h5py.File(launch.folder / "experiment.h5", locking=False) as file:
        return file["evaluations"][...]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_dies_costs_its_evaluation_only(launch, workers):
    launch.write("experiment.py", DYING)
    done = launch.phs(None, "experiment.py", "--backend", "processes", "--workers", str(workers))
    assert done.returncode == 0, done.stderr
    found = rows(launch)
    failed = set(found["values"]["n"][found["status"] == Status.FAILED][:3])
    assert failed == {2, 4, 5}
    assert (found["status"][10:14] == Status.DONE).all()
    assert (found["status"][14:] == Status.FAILED).all()
    assert b"the worker process died" in found["error"][2]
    assert found["end"][2] >= found["start"][2] > time.time() - 100


BATCHES = """
import os, time
from phs_mpi import Experiment, Grid

def target(n):
    descriptor = os.open("calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{n} {os.getpid()}\\n".encode())
    os.close(descriptor)
    if n >= 1000:
        time.sleep(0.5)
    return n

experiment = Experiment(target, {"n": int}, capture=False)
experiment.add(n=Grid(list(range(400)) + list(range(1000, 1012))))
experiment.add(n=Grid(list(range(400, 800))))
"""


@pytest.mark.parametrize("backend", ["processes", "dask"])
def test_long_sets_after_very_short_ones_are_shared_out(launch, backend):
    """Very short ones go to a worker by the dozen; long ones do not wait behind each other."""
    launch.write("experiment.py", BATCHES)
    done = launch.phs(None, "experiment.py", "--backend", backend, "--workers", "3")
    assert done.returncode == 0, done.stderr
    found = rows(launch)
    assert (found["status"] == Status.DONE).all()
    calls = [line.split() for line in (launch.folder / "calls").read_text().splitlines()]
    assert sorted(int(n) for n, _ in calls) == sorted(found["values"]["n"])  # each once
    long = found[400:412]
    assert max(np.unique(long["worker"], return_counts=True)[1]) <= 6


def test_workers_that_die_before_they_are_ready_end_the_run(launch):
    launch.write(
        "experiment.py",
        """
        import multiprocessing, os
        from phs_mpi import Experiment, Random

        if multiprocessing.parent_process() is not None:
            os._exit(1)

        experiment = Experiment(lambda x: x, {"x": float})
        experiment.add(20, x=Random(0, 1))
        """,
    )
    done = launch.phs(None, "experiment.py", "--workers", "2")
    assert done.returncode == 2, done.stderr
    assert "died 3 times before it could evaluate anything" in done.stderr
    assert (rows(launch)["status"] == Status.EMPTY).all()


def test_a_pool_process_that_is_killed(launch):
    """From outside, in the middle of an evaluation: counts before and after."""
    text = """
    import os, time
    from phs_mpi import Experiment, Grid

    def target(n):
        descriptor = os.open("began", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{n} {os.getpid()}\\n".encode())
        os.close(descriptor)
        time.sleep(0.2)
        return n

    experiment = Experiment(target, {"n": int})
    experiment.add(n=Grid(list(range(30))))
    """
    launch.write("experiment.py", text)
    run = launch.start(None, "-m", "phs_mpi", "experiment.py", "--workers", "2")
    wait_for(launch.folder / "began", 40)
    index, victim = map(int, (launch.folder / "began").read_text().splitlines()[-1].split())
    os.kill(victim, signal.SIGKILL)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 0, out + err
    began = [int(line.split()[0]) for line in (launch.folder / "began").read_text().splitlines()]
    assert sorted(began) == list(range(30))  # each once, the killed one too
    found = rows(launch)
    assert [int(n) for n in found["values"]["n"][found["status"] == Status.FAILED]] == [index]
    assert b"the worker process died" in found["error"][index]
    assert "29 done, 1 failed" in out
    launch.write("experiment.py", text)
    done = launch.phs(None, "experiment.py", "--workers", "2", "--retry-failed")
    assert done.returncode == 0, done.stderr
    assert (rows(launch)["status"] == Status.DONE).all()
    assert len((launch.folder / "began").read_text().splitlines()) == 31


SLOW = """
import time
from phs_mpi import Experiment, Random

def target(x):
    open("began", "a").write("x")
    time.sleep(0.2)
    open("ended", "a").write("x")
    return x

experiment = Experiment(target, {"x": float}, seed=1)
experiment.add(200, x=Random(0, 1))
"""


def wait_for(path, size):
    deadline = time.monotonic() + 30
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_interrupt_drains_and_the_same_command_goes_on(launch):
    launch.write("experiment.py", SLOW)
    arguments = ("-m", "phs_mpi", "experiment.py", "--workers", "2")
    process = launch.start(None, *arguments)
    wait_for(launch.folder / "ended", 4)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to everybody
    out, err = process.communicate(timeout=30)
    assert process.returncode == 3, out + err
    began = (launch.folder / "began").stat().st_size
    assert began == (launch.folder / "ended").stat().st_size
    assert int((rows(launch)["status"] == Status.DONE).sum()) == began
    launch.write("experiment.py", SLOW.replace("sleep(0.2)", "sleep(0)"))
    done = launch.phs(2, "experiment.py")
    assert done.returncode == 0, done.stderr
    assert (launch.folder / "began").stat().st_size == 200


def test_a_second_interrupt_stops_at_once(launch):
    launch.write("experiment.py", SLOW.replace("sleep(0.2)", "sleep(60)"))
    process = launch.start(None, "-m", "phs_mpi", "experiment.py", "--workers", "2")
    wait_for(launch.folder / "began", 2)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130, out + err
    assert "Traceback" not in err


@pytest.mark.parametrize("workers", ["0", "-1"])
def test_no_workers_are_refused(launch, workers):
    launch.write("experiment.py", SLOW)
    done = launch.phs(None, "experiment.py", "--workers", workers)
    assert done.returncode == 2
    assert f"{workers} is no number of workers" in done.stderr
