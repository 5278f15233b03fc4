"""The package as users get it: a wheel, installed somewhere else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with phs_mpi installed from a wheel built of a copy of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    shutil.copytree(ROOT / "phs_mpi", copy / "phs_mpi")
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(copy)]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = folder.glob("phs_mpi-*.whl")
    target = folder / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)], check=True)
    return target


@pytest.mark.smoke
def test_a_wheel_runs_outside_the_checkout(installed, launch):
    launch.write(
        "experiment.py",
        """
        import phs_mpi
        from phs_mpi import Bayesian, Experiment, Random

        def target(x):
            return {"result": x * x, "here": 1.0}

        open("where.txt", "w").write(phs_mpi.__file__)
        experiment = Experiment(target, {"x": float})
        experiment.add(4, x=Random(-1, 1))
        experiment.add(3, x=Bayesian(-1, 1))
        """,
    )
    done = launch.phs(3, "experiment.py", PYTHONPATH=str(installed))
    assert done.returncode == 0, done.stderr
    where = Path((launch.folder / "where.txt").read_text())
    assert where == installed / "phs_mpi" / "__init__.py"
    status = launch.phs(None, "status", "experiment.h5", PYTHONPATH=str(installed))
    assert "7 of 7 parameter sets evaluated" in status.stdout
    report = launch.phs(None, "report", "experiment.h5", PYTHONPATH=str(installed))
    assert report.returncode == 0, report.stderr
    page = (launch.folder / "experiment.html").read_text()
    assert "7 of 7" in page
    assert "aria-sort" in page  # its script, a file of its own in the wheel


def test_the_script_phs_mpi_is_installed(launch):
    script = Path(sys.executable).parent / "phs-mpi"
    done = subprocess.run([script, "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("phs_mpi ")


HEAVY = ("scipy", "sklearn", "matplotlib", "pandas", "tqdm", "concurrent.futures.process")


#: What only rank 0 needs, or another backend or command.
OF_OTHERS = (
    "schedule",
    "progress",
    "search",
    "store.creation",
    "store.lock",
    "store.resume",
    "store.snapshot",
    "backends.client",
    "backends.isolation",
    "backends.job",
    "backends.monitoring",
    "backends.serial",
    "backends.mpi.master",
    "backends.mpi.rank_0",
    "plot_command",
    "compare_command",
    "report_command",
)

#: Modules of the standard library that few evaluations need; each takes a millisecond or two.
SELDOM = (
    "csv",
    "fractions",
    "hashlib",
    "importlib.metadata",
    "json",
    "shutil",
    "socket",
    "statistics",
    "tempfile",
    "unicodedata",
    "uuid",
)


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import phs_mpi", (*HEAVY, "numpy", "h5py", "mpi4py")),
        ("from phs_mpi import Experiment, Random, Bayesian, Choice, Grid, expr, current", HEAVY),
        ("import phs_mpi.cli, phs_mpi.monitor, phs_mpi.comparing, phs_mpi.report", HEAVY[:-2]),
        ("import phs_mpi.backends.monitoring", (*HEAVY, "h5py", "cloudpickle", "mpi4py")),
        ("import phs_mpi.backends.mpi.messages, phs_mpi.schedule, phs_mpi.worker", ("mpi4py",)),
    ],
)
def test_imports_are_lazy(launch, code, absent):
    done = launch(None, "-c", f"{code}\nimport sys\nprint(*sys.modules)")
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout.split()) & set(absent)


def test_rank_0_never_imports_what_only_proposals_need(launch):
    launch.write(
        "experiment.py",
        """
        import atexit, os, sys
        from phs_mpi import Bayesian, Experiment, Random

        def target(x):
            return x

        def note():
            rank = os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ["PMI_RANK"]
            open(f"modules-{rank}.txt", "w").write("\\n".join(sys.modules))

        def monitor(evaluation):
            open("monitor.txt", "w").write("\\n".join(sys.modules))

        atexit.register(note)
        experiment = Experiment(target, {"x": float}, monitor=monitor)
        experiment.add(4, x=Random(-1, 1))
        experiment.add(6, x=Bayesian(-1, 1))
        """,
    )
    done = launch.phs(2, "experiment.py")
    assert done.returncode == 0, done.stderr
    master, worker = (set((launch.folder / f"modules-{r}.txt").read_text().split()) for r in "01")
    monitor = set((launch.folder / "monitor.txt").read_text().split())
    for modules in (master, monitor):
        assert not modules & {"scipy", "sklearn", "matplotlib", "pandas", "phs_mpi.search"}
    assert "mpi4py.MPI" not in monitor
    assert "scipy" in worker
    assert not worker & {"sklearn", "matplotlib", "pandas", "tqdm"}


def test_a_worker_loads_what_evaluating_takes_and_no_more(launch):
    launch.write(
        "experiment.py",
        """
        import os, sys
        from phs_mpi import Experiment, Random

        def target(x):
            open(f"modules-{os.getpid()}.txt", "w").write("\\n".join(sys.modules))
            return x

        experiment = Experiment(target, {"x": float})
        experiment.add(4, x=Random(-1, 1))
        """,
    )
    done = launch.phs(3, "experiment.py")
    assert done.returncode == 0, done.stderr
    found = [set(path.read_text().split()) for path in launch.folder.glob("modules-*.txt")]
    assert found
    code = "from mpi4py import MPI; import argparse, h5py, numpy, sys; print(*sys.modules)"
    bare = launch(None, "-c", code)
    assert bare.returncode == 0, bare.stderr
    of_others = {f"phs_mpi.{name}" for name in OF_OTHERS}
    for modules in found:
        assert not (modules - set(bare.stdout.split())) & {*HEAVY, *of_others, *SELDOM}
        ours = [name for name in modules if name.split(".")[0] == "phs_mpi"]
        assert len(ours) <= 53, sorted(ours)
