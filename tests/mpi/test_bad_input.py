"""Bad input under real mpirun: one message from rank 0, exit status 2, no traceback, no hang."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

import h5py
import pytest

HEAD = """
from phs_mpi import Bayesian, Choice, Experiment, Grid, Random, expr

def target(x, y):
    return x

"""


def defined(body: str) -> str:
    return HEAD + body


TWO = 'experiment = Experiment(target, {"x": float, "y": float})\n'

#: What is wrong: (text of experiment.py, words that the message must have).
CASES = {
    "syntax error": ("def f(:\n    pass\n", ["experiment.py:1:", "invalid syntax"]),
    "import error": ("import no_such_module\n", ["no_such_module", "experiment.py"]),
    "exception inside": ("1 / 0\n", ["ZeroDivisionError", "experiment.py:1:"]),
    "exit inside": ("import sys\nsys.exit(0)\n", ["experiment.py", "exit"]),
    "no experiment": ("x = 1\n", ["experiment.py", "no Experiment"]),
    "two experiments": (
        defined(TWO + "experiment.add(x=1, y=1)\nother = Experiment(target, {'x': int, 'y': int})"),
        ["experiment", "other"],
    ),
    "no sets": (defined(TWO), ["add"]),
    "unknown parameter": (defined(TWO + "experiment.add(x=1, y=1, z=2)"), ["z", "x", "y"]),
    "parameter left out": (defined(TWO + "experiment.add(x=1)"), ["y"]),
    "low above high": (defined(TWO + "experiment.add(5, x=Random(3, 1), y=1)"), ["x", "3", "1"]),
    "low equals high": (defined(TWO + "experiment.add(5, x=Bayesian(2, 2), y=1)"), ["x", "2"]),
    "log of zero": (
        defined(TWO + "experiment.add(5, x=Bayesian(0, 1, log=True), y=1)"),
        ["x", "log", "0"],
    ),
    "empty choice": (defined(TWO + "experiment.add(5, x=Choice([]), y=1)"), ["x", "Choice"]),
    "option of another strategy": (
        defined(TWO + "experiment.add(x=Grid([1, 2], ordered=True), y=1)"),
        ["x", "Grid", "ordered", "Bayesian"],
    ),
    "NaN bounds": (defined(TWO + "experiment.add(x=Random(float('nan'), 1), y=1)"), ["x", "nan"]),
    "value that cannot be sent": (
        defined(TWO + "experiment.add(x=lambda: 3, y=1)"),
        ["x", "a function", "is not a number"],
    ),
    "value of another type": (defined(TWO + "experiment.add(x='three', y=1)"), ["x", "three"]),
    "duplicate names": (
        defined("experiment = Experiment(target, [('x', float), ('x', int)])"),
        ["x", "twice"],
    ),
    "no identifier": (defined("experiment = Experiment(target, {'my-x': float})"), ["my-x"]),
    "keyword": (defined("experiment = Experiment(target, {'lambda': float})"), ["lambda"]),
    "unknown type": (
        defined("experiment = Experiment(target, {'x': 'flaot', 'y': int})"),
        ["flaot"],
    ),
    "expr with a syntax error": (
        defined(
            "experiment = Experiment(target, {'x': float, 'y': expr})\n"
            "experiment.add(x=1, y='x +* 2')"
        ),
        ["y", "x +* 2"],
    ),
    "expr before its parameter": (
        defined(
            "experiment = Experiment(target, {'x': expr, 'y': float})\n"
            "experiment.add(x='y * 2', y=1)"
        ),
        ["x", "y"],
    ),
    "target not callable": (
        defined("experiment = Experiment(3, {'x': float})"),
        ["3", "not callable"],
    ),
    "target with other arguments": (
        defined("experiment = Experiment(target, {'x': float})"),
        ["target", "missing a required argument: 'y'"],
    ),
    "space exhausted": (
        defined(TWO + "experiment.add(20, x=Choice([1, 2, 3]), y=Choice([1, 2, 3]))"),
        ["20", "9"],
    ),
}


def assert_one_message(done: subprocess.CompletedProcess, words=(), status: int = 2) -> None:
    assert done.returncode == status, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("phs_mpi: error:")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    for word in words:
        assert word.lower() in lines[0].lower(), lines[0]


@pytest.mark.parametrize("name", CASES)
def test_definition(launch, name):
    text, words = CASES[name]
    launch.write("experiment.py", text)
    done = launch.phs(2, "experiment.py", timeout=60)
    assert_one_message(done, words)
    assert not (launch.folder / "experiment.h5").exists()


@pytest.fixture
def good(launch):
    """A good experiment.py of 3 sets; returns what runs it with other options."""
    launch.write(
        "experiment.py",
        defined(TWO + "experiment.add(3, x=Random(0, 1), y=1)"),
    )
    return lambda *options, ranks=2, **env: launch.phs(
        ranks, "experiment.py", *options, timeout=60, **env
    )


def test_experiment_missing(launch):
    assert_one_message(launch.phs(2, "nowhere.py", timeout=60), ["nowhere.py"])


def test_more_than_two_ranks_still_one_message(launch):
    assert_one_message(launch.phs(8, "nowhere.py", timeout=60), ["nowhere.py"])


def test_unknown_option_is_said_once(good):
    done = good("--no-such-option")
    assert done.returncode == 2
    assert done.stderr.count("unrecognized arguments: --no-such-option") == 1


def test_output_folder_missing(good, launch):
    assert_one_message(good("-o", "no/such/folder/out.h5"), ["no/such/folder"])


def test_output_is_a_folder(good, launch):
    (launch.folder / "experiment.h5").mkdir()
    assert_one_message(good(), ["experiment.h5"])


def test_output_not_hdf5(good, launch):
    (launch.folder / "experiment.h5").write_text("hello\n" * 1000)
    assert_one_message(good(), ["experiment.h5", "HDF5"])
    assert (launch.folder / "experiment.h5").read_text() == "hello\n" * 1000


def test_output_truncated(good, launch):
    path = launch.folder / "experiment.h5"
    assert good().returncode == 0
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert_one_message(good(), ["experiment.h5", "truncated"])


def test_hdf5_of_somebody_else(good, launch):
    with h5py.File(launch.folder / "experiment.h5", "w") as file:
        file["a"] = 1
    assert_one_message(good(), ["experiment.h5", "phs_mpi"])


def test_newer_format(good, launch):
    assert good().returncode == 0
    with h5py.File(launch.folder / "experiment.h5", "r+") as file:
        file.attrs["format_version"] = 99
    assert_one_message(good(), ["format 99", "up to 2", "upgrade"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("Random(0, 1)", "Random(0, 2)"), ["another experiment"]),
        (("'experiment = Experiment(target, {", ""), None),
        (('"y": float}', '"y": int}'), ["y", "another experiment"]),
        (("add(3,", "add(2,"), ["another experiment", "3", "2"]),
        (('float})', 'float}, maximize=True)'), ["maximize", "another experiment"]),
    ],
)  # fmt: skip
def test_file_of_another_experiment(good, launch, change, words):
    if words is None:
        assert good().returncode == 0
        assert_one_message(good("--seed", "5"), ["seed", "5", "another experiment"])
        return
    assert good().returncode == 0
    path = launch.folder / "experiment.py"
    path.write_text(path.read_text().replace(*change))
    assert_one_message(good(), words)


def test_output_in_use_by_another_run(launch):
    launch.write(
        "experiment.py",
        defined(
            "import time\n\ndef slow(x, y):\n    open('began', 'w').close()\n    time.sleep(20)\n"
            "experiment = Experiment(slow, {'x': float, 'y': float})\n"
            "experiment.add(3, x=Random(0, 1), y=1)"
        ),
    )
    first = launch.start(2, "-m", "phs_mpi", "experiment.py")
    try:
        deadline = time.monotonic() + 30
        while not (launch.folder / "began").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        done = launch.phs(2, "experiment.py", timeout=60)
        assert_one_message(done, ["experiment.h5", "another run"])
    finally:
        os.killpg(first.pid, 9)
        first.communicate()


@pytest.fixture
def small_disk(tmp_path_factory):
    """A file system of 256 KiB, full but for a few KiB."""
    folder = tmp_path_factory.mktemp("small")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system takes root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_output_folder_full(good, small_disk):
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - 4096))
    assert_one_message(good("-o", str(small_disk / "out.h5")), ["out.h5", "free space"])
    assert [p.name for p in small_disk.iterdir()] == ["filler"]


def test_output_folder_read_only(good, launch):
    folder = launch.folder / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    if os.geteuid() == 0:
        # Root may write anywhere but where nobody may.
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)], capture_output=True
        )
        if mounted.returncode:
            pytest.skip("mounting takes root in this sandbox")
    try:
        assert_one_message(good("-o", "locked/out.h5"), ["locked"])
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", str(folder)], check=True)


def test_one_process_backend_under_mpirun(good):
    assert_one_message(good("--backend", "serial"), ["2 ranks", "serial"])


@pytest.mark.parametrize("command", ["status", "best", "plot"])
def test_reading_commands_refuse_what_is_no_results_file(launch, command):
    assert_one_message(launch.phs(None, command, "nowhere.h5"), ["nowhere.h5"])
    launch.write("text.h5", "hello\n")
    assert_one_message(launch.phs(None, command, "text.h5"), ["text.h5"])
