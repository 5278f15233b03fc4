"""Loading of experiment.py: each way it can fail is one line that names the place."""

import os
import pickle
import subprocess
import sys

import pytest

from phs_mpi.errors import DefinitionError
from phs_mpi.loading import load_experiment

GOOD = """\
import math
from phs_mpi import Experiment, Random

def f(x):
    return math.sin(x)

experiment = Experiment(f, {"x": float}, seed=7)
experiment.add(5, x=Random(0, 1))
"""


@pytest.fixture(autouse=True)
def _modules_and_path_restored():
    modules, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - modules:
        if not name.startswith(("phs_mpi", "numpy")):
            del sys.modules[name]
    sys.path[:] = path


@pytest.fixture
def write(tmp_path):
    def write(text, name="experiment.py"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def failure(path):
    """The one line of a file that cannot be loaded."""
    with pytest.raises(DefinitionError) as caught:
        load_experiment(path)
    line = str(caught.value)
    assert "\n" not in line
    assert caught.value.remedy or isinstance(caught.value.__cause__, DefinitionError)
    return line.replace(str(path), path.name)


def test_a_good_file(write):
    path = write(GOOD)
    experiment = load_experiment(path)
    assert experiment.path == str(path)
    assert experiment.source == GOOD
    assert experiment.name == "experiment"
    assert experiment.seed == 7
    assert len(experiment.table()) == 5
    assert experiment.target(0.0) == 0.0
    assert sys.modules["experiment"].experiment is experiment
    assert not (path.parent / "__pycache__").exists()


def test_a_name_of_its_own_is_kept(write):
    assert load_experiment(write(GOOD.replace("seed=7", "name='mine'"))).name == "mine"


def test_the_seed_can_be_overridden(write):
    path = write(GOOD)
    with_seven = load_experiment(path).table().values
    with_eight = load_experiment(path, seed=8)
    assert with_eight.seed == 8
    assert (with_eight.table().values != with_seven).all()
    assert (load_experiment(path, seed=7).table().values == with_seven).all()


def test_a_relative_path(write, monkeypatch):
    path = write(GOOD)
    monkeypatch.chdir(path.parent)
    experiment = load_experiment("experiment.py")
    assert experiment.path == str(path)
    monkeypatch.chdir("/")
    assert sys.path[0] == str(path.parent)


def test_the_folder_of_the_file_comes_first(write):
    write("LIMIT = 3\n", "helper_beside.py")
    path = write("from helper_beside import LIMIT\n" + GOOD.replace("(0, 1)", "(0, LIMIT)"))
    assert load_experiment(path).groups[0].strategies["x"].high == 3


def test_main_guards_are_not_taken(write):
    assert load_experiment(write(GOOD + '\nif __name__ == "__main__":\n    1 / 0\n'))


def test_a_dataclass_and_pickling_find_their_module(write):
    text = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    text += "@dataclass\nclass A:\n    x: int = 1\n\n" + GOOD
    experiment = load_experiment(write(text, "my-study.py"))
    assert experiment.target.__module__ == "my_study"
    assert pickle.loads(pickle.dumps(experiment.target)) is experiment.target


@pytest.mark.parametrize("name", ["json.py", "numpy.py", "phs_mpi.py", "random.py", "2.py"])
def test_a_file_named_like_another_module_replaces_none(write, name):
    import numpy

    experiment = load_experiment(write(GOOD, name))
    assert len(experiment.table()) == 5
    assert sys.modules["numpy"] is numpy
    assert sys.modules[experiment.target.__module__].f is experiment.target


def test_other_encodings(tmp_path):
    path = tmp_path / "experiment.py"
    path.write_bytes(b"# -*- coding: latin-1 -*-\ns = '\xfc'\n" + GOOD.encode())
    assert "'ü'" in load_experiment(path).source


# -- what cannot be loaded ------------------------------------------------------------------------


def test_a_missing_file(tmp_path):
    assert failure(tmp_path / "experiment.py").startswith("there is no file 'experiment.py'; check")


def test_a_folder(tmp_path):
    assert failure(tmp_path).startswith(f"'{tmp_path.name}' is a folder; name the Python file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(write):
    path = write(GOOD)
    path.chmod(0)
    assert failure(path).startswith("cannot read 'experiment.py': Permission denied")


def test_a_results_file(tmp_path):
    path = tmp_path / "experiment.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n\0\0\0")
    assert failure(path).startswith("'experiment.h5' is not a text file; name the Python file")


def test_not_utf8(tmp_path):
    path = tmp_path / "experiment.py"
    path.write_bytes(b"a = 1\nb = '\xfc'\n")
    assert failure(path).startswith("experiment.py:2: the text is not UTF-8")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("x = 1\ndef f(:\n", "experiment.py:2: invalid syntax: def f(:"),
        ("def f():\nreturn 1\n", "experiment.py:2: expected an indented block"),
        ("import phs_mpi\nreturn 1\n", "experiment.py:2: 'return' outside function"),
        ("import nothing_of_that_name\n", "experiment.py:1: ModuleNotFoundError: No module named"),
        ("from phs_mpi import Experimemt\n", "experiment.py:1: ImportError: cannot import name"),
        ("\n\n1 / 0\n", "experiment.py:3: ZeroDivisionError: division by zero; mend"),
        ("raise ValueError('two\\nlines')\n", "experiment.py:1: ValueError: two lines"),
        ("raise ValueError\n", "experiment.py:1: ValueError; mend"),
        ("import json\n\njson.loads('{')\n", "experiment.py:3: JSONDecodeError"),
        ("def f():\n    return g\n\nf()\n", "experiment.py:2: NameError: name 'g'"),
        ("import sys\nsys.exit(3)\n", "experiment.py:2: the file calls sys.exit while"),
        ("class E(BaseException): pass\nraise E\n", "experiment.py:2: E; mend"),
        ("x = 1\n", "experiment.py defines no experiment; add experiment = Experiment("),
        ("", "experiment.py defines no experiment"),
        (GOOD + "other = Experiment(f, {'x': float})\n", "2 experiments: experiment, other; keep"),
        (GOOD.partition("experiment.add")[0], "the experiment 'experiment' has no parameter sets"),
        (GOOD.replace("(0, 1)", "(5, 1)"), "experiment.py:8: parameter 'x': the lower bound 5"),
        (GOOD.replace("x=R", "z=R"), "experiment.py:8: parameter 'z': there is no such parameter"),
        (GOOD.replace("def f(x)", "def f(y, z)"), "experiment.py:7: the target f(y, z) cannot be"),
        (GOOD.replace("x=Random(0, 1)", "x=Random(0, 1, 2)"), "experiment.py:8: TypeError"),
    ],
)
def test_a_bad_file(write, text, line):
    message = failure(write(text))
    assert line in message
    assert "experiment" not in sys.modules, "nothing of a bad file stays behind"


def test_a_syntax_error_in_an_imported_module(write):
    write("x = (\n", "helper_broken.py")
    line = failure(write("\nimport helper_broken\n"))
    assert line.startswith("experiment.py:2: ")
    assert "helper_broken.py:1: '(' was never closed" in line


def test_a_file_that_cannot_be_loaded_leaves_the_path_alone(write):
    before = list(sys.path)
    failure(write("1 / 0"))
    assert sys.path == before


def test_one_experiment_under_two_names(write):
    assert load_experiment(write(GOOD + "same = experiment\n"))


def test_the_seed_of_the_argument_is_checked(write):
    with pytest.raises(DefinitionError, match="seed=-1"):
        load_experiment(write(GOOD), seed=-1)


def test_the_front_door_is_cheap_and_complete():
    code = (
        "import sys, phs_mpi\n"
        "assert 'numpy' not in sys.modules\n"
        "for name in phs_mpi.__all__: getattr(phs_mpi, name)\n"
        "import phs_mpi.loading\n"
        "heavy = {'scipy', 'sklearn', 'matplotlib', 'pandas', 'h5py'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert set(phs_mpi.__all__) <= set(dir(phs_mpi))\n"
        "assert phs_mpi.__version__[0].isdigit()\n"
        "try:\n"
        "    phs_mpi.nothing\n"
        "except AttributeError as error:\n"
        "    assert 'nothing' in str(error)\n"
        "else:\n"
        "    raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
