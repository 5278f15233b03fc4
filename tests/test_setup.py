"""What the set-up decides, on machines made of a few stub programs: nothing is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOLS = [
    "bash",
    "cat",
    "cut",
    "dirname",
    "env",
    "grep",
    "head",
    "id",
    "mkdir",
    "sha256sum",
    "sh",
    "true",
]
#: Passes a check for mpi.h as the compiler of an MPI does.
MPICC = 'case "$*" in *-show*) echo gcc -lmpi ;; esac'


class Machine:
    """A folder of programs that is the whole PATH; there is no apt-get in it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.bin = folder / "bin"
        self.venv = folder / "venv"
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.program("python3", f'exec "{sys.executable}" "$@"')

    def program(self, name: str, script: str) -> None:
        path = self.folder / name if "/" in name else self.bin / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def hdf5(self, prefix: Path, parallel: bool) -> Path:
        (prefix / "include").mkdir(parents=True)
        line = "#define H5_HAVE_PARALLEL 1" if parallel else "/* #undef H5_HAVE_PARALLEL */"
        (prefix / "include" / "H5pubconf.h").write_text(line + "\n")
        return prefix

    def __call__(self, script: str, **env: str) -> subprocess.CompletedProcess:
        script = f'set -euo pipefail; . "{ROOT}/scripts/setup.sh"; {script}'
        return subprocess.run(
            [self.bin / "bash", "-c", script],
            env={"PATH": str(self.bin), "VENV": str(self.venv), **env},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def mode(self, **env: str) -> str:
        done = self('choose_mode >/dev/null; echo "$MODE ${CC:-} ${HDF5_LIBDIR:-}"', **env)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def refusal(self, script: str = "setup", **env: str) -> str:
        """The one line that a failing set-up ends with."""
        done = self(script, **env)
        assert done.returncode == 1, done.stdout + done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("set-up failed: ")
        return line


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def cluster(machine: Machine) -> Machine:
    """With an MPI and the headers of Python, but no HDF5."""
    machine.program("mpicc", MPICC)
    machine.program("mpirun", 'echo "mpirun $*"')
    # These tests also run where Python has no headers.
    machine.program(
        "python3", f'case "$*" in *Python.h*) ;; *) exec "{sys.executable}" "$@" ;; esac'
    )
    return machine


def test_without_mpi_and_rights_wheels_are_taken(machine):
    assert machine.mode() == "wheels"


def test_an_mpi_without_parallel_hdf5_is_used(cluster):
    assert cluster.mode() == "mpi mpicc"


def test_hdf5_dir_is_honoured(cluster):
    hdf5 = cluster.hdf5(cluster.folder / "hdf5", parallel=True)
    assert cluster.mode(HDF5_DIR=str(hdf5)) == f"system mpicc {hdf5}/lib"


def test_hdf5_is_found_by_its_compiler(cluster):
    hdf5 = cluster.hdf5(cluster.folder, parallel=True)
    cluster.program("h5pcc", "true")
    assert cluster.mode() == f"system mpicc {hdf5}/lib"


def test_a_serial_hdf5_is_not_taken_for_a_parallel_one(cluster):
    hdf5 = cluster.hdf5(cluster.folder / "hdf5", parallel=False)
    assert cluster.mode(HDF5_DIR=str(hdf5)) == "mpi mpicc"


def test_cc_is_honoured_if_it_knows_mpi(cluster):
    cluster.program("cc", "true")
    cluster.program("gcc", "exit 1")
    assert cluster.mode(CC="cc") == "mpi cc"
    assert cluster.mode(CC="gcc") == "mpi mpicc"


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"PHS_MPI_SETUP": "sytem"}, "PHS_MPI_SETUP=sytem; it must be auto, system or wheels"),
        ({"PYTHON": "python9"}, "there is no python9; install Python 3.10 or newer"),
        ({"PHS_MPI_SETUP": "system"}, "no MPI with parallel HDF5 here"),
        ({"VENV": "/proc/nowhere/venv"}, "cannot write /proc/nowhere/venv.setup.log"),
    ],
)
def test_what_cannot_be_ends_in_one_line(machine, env, words):
    assert words in machine.refusal(**env)


def test_an_old_python_is_refused(machine):
    machine.program("python3", 'case "$1" in --version) echo Python 3.9.2 ;; *) exit 1 ;; esac')
    assert "python3 is Python 3.9.2; name a Python 3.10 or newer" in machine.refusal()


def test_one_environment_is_not_set_up_with_two_mpis(cluster):
    cluster.venv.mkdir()
    (cluster.venv / ".phs_mpi-mode").write_text("wheels\n")
    assert cluster.mode() == "wheels"
    line = cluster.refusal(PHS_MPI_SETUP="system")
    assert f"{cluster.venv} was set up as wheels, not system; delete it" in line


def test_a_step_that_fails_names_its_log(machine):
    line = machine.refusal("step 'compiling' sh -c 'echo no such header; exit 3'")
    log = Path(f"{machine.venv}.setup.log")
    assert "compiling" in line
    assert str(log) in line
    assert log.read_text() == "no such header\n"


@pytest.mark.parametrize(
    ("version", "expected"),
    [("mpirun (Open MPI) 4.1.4", "--oversubscribe -n 4 it"), ("HYDRA build details", "-n 4 it")],
)
def test_the_environments_own_mpirun_is_taken(machine, version, expected):
    show = f'case "$1" in --version) echo "{version}" ;; *) echo "$0" "$@" ;; esac'
    machine.program("mpirun", show)
    assert machine("mpirun_here -n 4 it").stdout == f"{machine.bin}/mpirun {expected}\n"
    machine.program("venv/bin/mpirun", show)
    assert machine("mpirun_here -n 4 it").stdout == f"{machine.venv}/bin/mpirun {expected}\n"


@pytest.mark.parametrize("local", [True, False], ids=["a wheel of the machine", "PyPI alone"])
def test_pytorch_is_installed_once_and_from_the_machine_where_that_has_it(machine, local):
    done, asked = machine.folder / "installed", machine.folder / "asked"
    machine.program(
        "venv/bin/python",
        f'case "$*" in "-c import torch") test -e "{done}"; exit ;; esac\n'
        f'case "$*" in *--no-index*) {"true" if local else "exit 1"} ;; esac\n'
        f'echo "$*" >>"{asked}"; : >"{done}"',
    )
    said = machine("need_torch; need_torch")
    assert said.returncode == 0, said.stderr
    assert said.stdout.count("PyTorch") == 1
    installs = asked.read_text().splitlines()
    assert len(installs) == (2 if local else 1)
    assert ("--no-index --no-deps" in installs[0]) is local
    assert installs[-1].endswith("pip --disable-pip-version-check install torch")
