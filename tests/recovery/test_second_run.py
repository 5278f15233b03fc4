"""One run at a time on a results file: across machines, file systems and deaths."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]

EXPERIMENT = """
import os, time
from phs_mpi import Experiment, Random

def target(x):
    open(f"began-{os.getpid()}", "w").close()
    while os.path.exists("hold"):
        time.sleep(0.01)
    return x

experiment = Experiment(target, {"x": float})
experiment.add(6, x=Random(0, 1))
"""


@pytest.fixture
def held(launch):
    """Starts runs that last until the file ``hold`` is gone."""
    launch.write("experiment.py", EXPERIMENT)
    (launch.folder / "hold").touch()
    started = []

    def start(ranks, *prefix, evaluating=True):
        arguments = [*prefix, "-m", "phs_mpi", "experiment.py"]
        process = launch.start(ranks, *arguments)
        started.append(process)
        deadline = time.monotonic() + 60
        while evaluating and not any(launch.folder.glob("began-*")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return process

    yield start
    (launch.folder / "hold").unlink(missing_ok=True)
    for process in started:
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def refused(done):
    assert done.returncode == 2, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    assert len(errors) == 1, done.stderr
    assert "is open for writing by another run (process " in errors[0]
    return errors[0]


def finish(launch, process):
    (launch.folder / "hold").unlink()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err


@pytest.mark.parametrize("ranks", [None, 3])
def test_a_second_run_is_refused(launch, held, ranks):
    process = held(3)
    refused(launch.phs(ranks, "experiment.py"))
    (launch.folder / "link.h5").symlink_to("experiment.h5")
    refused(launch.phs(ranks, "experiment.py", "-o", "link.h5"))
    (launch.folder / "other").symlink_to(".")
    refused(launch.phs(ranks, "experiment.py", "-o", "other/experiment.h5"))
    finish(launch, process)
    assert launch.phs(ranks, "experiment.py").returncode == 0


def test_of_two_that_start_at_the_same_instant_one_runs(launch, held):
    both = [held(3, evaluating=False) for _ in range(2)]
    deadline = time.monotonic() + 90
    while all(process.poll() is None for process in both):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    loser = next(process for process in both if process.poll() is not None)
    winner = next(process for process in both if process is not loser)
    out, err = loser.communicate()
    refused(subprocess.CompletedProcess([], loser.returncode, out, err))
    finish(launch, winner)
    assert len(list(launch.folder.glob("began-*"))) <= 2  # the workers of one run


def ranks_of(process):
    """Process ids by rank of an mpirun."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]) != process.pid:
                    continue
                words = dict(
                    word.partition(b"=")[::2]
                    for word in (entry / "environ").read_bytes().split(b"\0")
                )
            except (OSError, IndexError):
                continue
            rank = words.get(b"OMPI_COMM_WORLD_RANK", words.get(b"PMI_RANK"))
            if rank is not None:
                found[int(rank)] = int(entry.name)
    return found


def test_it_dies_with_its_owner(launch, held):
    process = held(3)
    os.kill(ranks_of(process)[0], signal.SIGKILL)
    process.communicate(timeout=60)
    (launch.folder / "hold").unlink()
    done = launch.phs(3, "experiment.py")
    assert done.returncode == 0, done.stderr


def test_another_machine_on_the_same_file_system_is_refused(launch, held):
    apart = ["unshare", "--mount", "--uts", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh"]
    if subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("a host name of its own takes root")
    program = f"import os, sys; os.execvp('unshare', {apart!r} + [sys.executable] + sys.argv[1:])"
    process = held(None, "-c", program)
    assert " on elsewhere, since " in refused(launch.phs(2, "experiment.py"))
    finish(launch, process)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the filter is of x86-64")
def test_a_file_system_without_locks(launch, held):
    without = [TESTS / "without_locks.py", sys.executable]
    process = held(None, *without)
    errors = refused(launch(None, *without, "-m", "phs_mpi", "experiment.py"))
    assert errors.endswith("if it was killed, wait 300 s")
    process.kill()
    process.communicate()
    # Its owner was on this machine, and is seen to be dead.
    (launch.folder / "hold").unlink()
    done = launch(None, *without, "-m", "phs_mpi", "experiment.py")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "file system without locks" in line]
    assert len(lines) == 1, done.stderr
    assert not list(launch.folder.glob(".*"))
