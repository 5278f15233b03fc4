"""Jobs on a SLURM of the tests, and what has become of them."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import cluster
import h5py
import numpy as np

from phs_mpi.log import Status

#: What users copy.
SCRIPTS = Path(__file__).parents[2] / "scripts" / "slurm"

#: A target that keeps a log of its own, by the index of the evaluation; ranks say who they are.
EXPERIMENT = """
import os, time
import phs_mpi
from phs_mpi import Bayesian, Experiment, Random

def note(text):
    descriptor = os.open("calls.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (text + "\\n").encode())
    os.close(descriptor)

with open("ranks.txt", "a") as file:
    file.write(f"{os.environ.get('SLURM_PROCID')} {os.getpid()}\\n")

def target(x):
    index = phs_mpi.current().index
    note(f"start {index}")
    time.sleep(SECONDS)
    note(f"end {index}")
    return (x - 1) ** 2

experiment = Experiment(target, {"x": float}, seed=1)
experiment.add(SETS - 5, x=Random(-5, 5))
experiment.add(5, x=Bayesian(-5, 5))
"""


class Folder:
    """A folder with an experiment, the jobs that run it, and what has become of it.

    Parameters
    ----------
    slurm : Cluster
    path : Path
    """

    def __init__(self, slurm: cluster.Cluster, path: Path):
        self.slurm = slurm
        self.path = path

    def experiment(self, sets: int, seconds: float) -> None:
        """Write an experiment of so many evaluations that take so long."""
        text = EXPERIMENT.replace("SETS", str(sets)).replace("SECONDS", str(seconds))
        (self.path / "experiment.py").write_text(text)

    def submit(self, script: str | Path, *arguments: str, options: tuple[str, ...] = ()) -> int:
        """Submit a script, given as text or as a file; returns the number of the job."""
        if isinstance(script, str):
            text = textwrap.dedent(script)
            script = self.path / "job.sbatch"
            script.write_text(text)
        options = ("--output=job.txt", "--open-mode=append", *options)
        return self.slurm.submit(self.path, *options, str(script), *arguments)

    def said(self) -> str:
        """What the jobs have printed."""
        path = self.path / "job.txt"
        return path.read_text() if path.exists() else ""

    def calls(self, word: str) -> list[int]:
        """Indices that the target's own log has with this word, in order."""
        path = self.path / "calls.txt"
        split = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [int(index) for what, index in split if what == word]

    def rank(self, number: int) -> int:
        """Process of a rank that has loaded the experiment."""
        lines = (self.path / "ranks.txt").read_text().splitlines()
        return {int(rank): int(pid) for rank, pid in map(str.split, lines)}[number]

    def rows(self) -> np.ndarray:
        """The evaluations, as they are on disk."""
        with h5py.File(self.path / "experiment.h5", locking=False) as file:
            return file["evaluations"][...]

    def committed(self) -> set[int]:
        """Evaluations that the file has a result of."""
        return {index for index, row in enumerate(self.rows()) if row["status"] == Status.DONE}

    def wait_for(self, condition: Callable[[], object], job: int, seconds: float = 120) -> None:
        """Wait for something that a running job does."""
        deadline = time.monotonic() + seconds
        while not condition():
            state = self.slurm.job(job)["JobState"]
            assert state in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"), self.report(job)
            assert time.monotonic() < deadline, self.report(job)
            time.sleep(0.2)

    def report(self, job: int | None) -> str:
        """For messages of failed tests."""
        state = "" if job is None else self.slurm.job(job)
        return f"{state}\n{self.said()}\n{self.slurm.logs()}"

    def check_complete(self, sets: int, job: int | None = None, *, again: int = 0) -> None:
        """Check that all sets are done; that at most `again` of them were started once more.

        What the file has counts, and what the target's log says: no launcher's exit status.
        """
        rows = self.rows()
        assert len(rows) == sets
        assert (rows["status"] == Status.DONE).all(), self.report(job)
        assert set(self.calls("end")) == set(range(sets))
        assert len(self.calls("start")) <= sets + again
