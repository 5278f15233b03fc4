"""kill -9 in mid-run: nothing that was completed is lost or run again."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import h5py
import pytest

from phs_mpi.log import Status

EXPERIMENT = """
import os, time
from phs_mpi import Bayesian, Experiment, Random

def note(text):
    descriptor = os.open("calls.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (text + "\\n").encode())
    os.close(descriptor)

def target(x):
    import phs_mpi
    now = phs_mpi.current()
    index = now.index * experiment.repeats.most + now.repeat
    note(f"start {index}")
    time.sleep(0.03)
    note(f"end {index}")
    return (x - 1) ** 2

experiment = Experiment(target, {"x": float}, seed=1)
experiment.add(60, x=Random(-5, 5))
experiment.add(20, x=Bayesian(-5, 5))
"""


def lines(folder: Path, word: str) -> list[int]:
    path = folder / "calls.txt"
    if not path.exists():
        return []
    split = [line.split() for line in path.read_text().splitlines()]
    return [int(index) for what, index in split if what == word]


def wait_for(condition, process, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            if parent == pid:
                found.append(int(entry.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def kill_job(process) -> None:
    """kill -9 of the launcher and of all ranks, which have process groups of their own."""
    for pid in [*children(process.pid), process.pid]:
        os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=60)


def rows(folder: Path):
    with h5py.File(folder / "experiment.h5", locking=False) as file:
        return file["evaluations"][...]


def check_resumed(launch, ranks, written_before):
    """Resume, and hold the file against the target's own append-only log."""
    before = rows(launch.folder)
    committed = {i for i, row in enumerate(before) if row["status"] in (2, 3, 4)}
    assert len(committed) >= written_before
    started_before = len(lines(launch.folder, "start"))
    done = launch.phs(ranks, "experiment.py")
    assert done.returncode == 0, done.stderr
    after = rows(launch.folder)
    assert (after["status"] == Status.DONE).all()
    again = lines(launch.folder, "start")[started_before:]
    assert sorted(again) == sorted(set(range(80)) - committed)
    most = 80 // len(set(after["values"]["x"]))
    assert (after["values"]["x"][::most] == after["values"]["x"].reshape(-1, most).T).all()
    for index in committed:
        assert before[index].tobytes() == after[index].tobytes()


# 80 evaluations either way.
REPEATED = EXPERIMENT.replace("seed=1", "seed=1, repeats=2").replace("add(60", "add(20")


@pytest.mark.parametrize(
    ("ranks", "text"),
    [(None, EXPERIMENT), (2, EXPERIMENT), (4, EXPERIMENT), (None, REPEATED), (4, REPEATED)],
    ids=["serial", "2", "4", "serial, repeats", "4, repeats"],
)
def test_killing_the_whole_job(launch, ranks, text):
    launch.write("experiment.py", text)
    process = launch.start(ranks, "-m", "phs_mpi", "experiment.py")
    wait_for(lambda: len(lines(launch.folder, "end")) >= 25, process)
    ended = len(lines(launch.folder, "end"))
    kill_job(process)
    # Each worker may have ended one evaluation whose row was not yet written.
    workers = 1 if ranks is None else ranks - 1
    check_resumed(launch, ranks, ended - workers)


def test_resume_on_another_number_of_ranks(launch):
    launch.write("experiment.py", EXPERIMENT)
    process = launch.start(4, "-m", "phs_mpi", "experiment.py")
    wait_for(lambda: len(lines(launch.folder, "end")) >= 30, process)
    kill_job(process)
    check_resumed(launch, 3, 27)


def test_ranks_end_when_only_mpirun_is_killed(launch):
    launch.write("experiment.py", EXPERIMENT)
    process = launch.start(3, "-m", "phs_mpi", "experiment.py")
    wait_for(lambda: len(lines(launch.folder, "end")) >= 10, process)
    ranks = children(process.pid)
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in ranks):
        assert time.monotonic() < deadline, "ranks outlive their launcher"
        time.sleep(0.05)
    check_resumed(launch, 3, 8)


def rank_of(pid: int) -> int:
    found = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(
        int(entry.split(b"=")[1])
        for entry in found
        if entry.startswith((b"OMPI_COMM_WORLD_RANK=", b"PMI_RANK="))
    )


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_killing_one_rank_ends_the_job_with_one_line_and_loses_nothing(launch, rank):
    launch.write("experiment.py", EXPERIMENT)
    process = launch.start(4, "-m", "phs_mpi", "experiment.py")
    wait_for(lambda: len(lines(launch.folder, "end")) >= 20, process)
    ended = len(lines(launch.folder, "end"))
    pid = next(pid for pid in children(process.pid) if rank_of(pid) == rank)
    os.kill(pid, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    said = [line for line in err.splitlines() if "has died" in line]
    assert len(said) == 1, err
    assert re.search(rf"^phs_mpi: rank {rank} on \S+ has died \(process {pid}\);", said[0])
    assert "are in experiment.h5; to go on: mpirun -n 4 python -m phs_mpi experiment.py" in said[0]
    assert "asked to stop" not in err
    assert "Traceback" not in err
    check_resumed(launch, 4, ended - 3)


def test_a_target_that_leaves_its_rank_with_status_0_ends_the_job(launch):
    leaves = 'now.index == 9 and os._exit(0); note(f"end'
    launch.write("experiment.py", EXPERIMENT.replace('note(f"end', leaves))
    done = launch.phs(4, "experiment.py", timeout=60)
    assert done.returncode != 0
    assert re.search(r"rank [123] on \S+ has died", done.stderr), done.stderr
    launch.write("experiment.py", EXPERIMENT)
    again = launch.phs(4, "experiment.py", "--isolate")
    assert again.returncode == 0, again.stderr
    assert (rows(launch.folder)["status"] == Status.DONE).all()


def test_interrupt_drains_a_serial_run(launch):
    launch.write("experiment.py", EXPERIMENT)
    process = launch.start(None, "-m", "phs_mpi", "experiment.py")
    wait_for(lambda: len(lines(launch.folder, "end")) >= 5, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3, out + err
    assert "parameter sets are left" in err
    assert len(lines(launch.folder, "start")) == len(lines(launch.folder, "end"))
    check_resumed(launch, None, len(lines(launch.folder, "end")))


def test_interrupt_while_a_run_begins(launch):
    begins = """
import os, time
from pathlib import Path

rank = os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ.get("PMI_RANK")
Path(f"loaded-{rank}").touch()
if rank == "0":
    time.sleep(60)  # the others wait for it
"""
    launch.write("experiment.py", begins + EXPERIMENT)
    process = launch.start(3, "-m", "phs_mpi", "experiment.py")
    wait_for(lambda: len(list(launch.folder.glob("loaded-*"))) == 3, process)
    for pid in children(process.pid):  # as srun passes it on
        os.kill(pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert err.count("phs_mpi: interrupted; the same command goes on") == 1
    assert "Traceback" not in err
    assert not (launch.folder / "experiment.h5").exists()
