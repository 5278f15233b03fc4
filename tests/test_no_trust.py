"""A results file of a stranger: reading it runs nothing of what is in it.

Hostile content is planted in every place of a real file, and every command that reads is run. It
would leave a file ``PWNED`` if it ran; an audit hook of Python watches for unpickling and shells.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import zlib

import h5py
import numpy as np
import pytest

from phs_mpi import cli
from phs_mpi.errors import StoreError
from phs_mpi.store import read, schema

pytestmark = pytest.mark.slow

EXPERIMENT = """
import math
import numpy as np
from phs_mpi import Bayesian, Choice, Experiment, Random, expr

def target(x, twice, kind, word, when):
    if x > 4:
        raise ValueError("too much")
    return {"result": x * x + twice, "weight": 1.0, "other": 2.0}

experiment = Experiment(
    target,
    {"x": float, "twice": expr, "kind": ["a", "bb"], "word": str, "when": "datetime64[D]"},
    metrics=["weight"],
)
experiment.add(8, x=Random(-5, 5), twice="2 * x", kind=Choice(["a", "bb"]), word="w" * 60,
               when="2026-01-01")
experiment.add(3, x=Bayesian(-5, 5), twice="2 * x", kind=Bayesian(["a", "bb"]), word="w",
               when="2026-01-01")
"""

PYTHON = "__import__('pathlib').Path('PWNED').touch()"
TERMINAL = "\x1b]0;title\x07\x1b[2J\x1b[31m\u202e\x9b31m"
HTML = "<script>alert(1)</script>"
PAYLOADS = [PYTHON, TERMINAL + HTML]

READERS = [
    ["status"],
    ["status", "--verify"],
    ["best"],
    ["explain", "10"],
    ["export", "--to", "csv"],
    ["export", "--to", "json"],
]
HEAVY = [
    ["export", "--to", "parquet"],
    ["export", "--to", "optuna"],
    ["plot", "evolution"],
    ["plot", "scatter"],
    ["plot", "timeline"],
    ["report"],
    ["compare", "other.h5"],
]


class Exploit:
    def __reduce__(self):
        return eval, (PYTHON,)


PICKLED = pickle.dumps(Exploit())

_watching: list[str] | None = None


def _audit(event, arguments):
    if _watching is not None and event in ("pickle.find_class", "os.system", "os.exec"):
        _watching.append(f"{event} {arguments}")


sys.addaudithook(_audit)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A file of a real run."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "experiment.py").write_text(EXPERIMENT)
    here = os.getcwd()
    os.chdir(folder)
    try:
        assert cli.main(["run", "-q", "experiment.py"]) == 0
    finally:
        os.chdir(here)
    return folder / "experiment.h5"


@pytest.fixture
def planted(original, tmp_path, monkeypatch, capfd):
    """Runs commands on a copy of the file in which something was planted."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "experiment.h5"
    for copy in (path, tmp_path / "other.h5"):
        copy.write_bytes(original.read_bytes())

    def use(commands=READERS):
        global _watching
        statuses = []
        _watching = []
        try:
            for verb, *options in commands:
                statuses.append(cli.main([verb, "experiment.h5", *options]))
                said, complaints = capfd.readouterr()
                assert "\x1b" not in said + complaints
                assert "\x9b" not in said + complaints
                assert "\u202e" not in said + complaints
            assert _watching == []
        finally:
            _watching = None
        assert not (tmp_path / "PWNED").exists()
        for page in tmp_path.rglob("*.html"):
            assert HTML not in page.read_text()
        return statuses

    use.path = path
    return use


def rewrite(path, name, text):
    """Put other text in the place of one of the file's texts, with its checksum."""
    raw = text.encode()
    with h5py.File(path, "r+") as file:
        del file[name]
        dtype = h5py.string_dtype("utf-8", max(1, len(raw)))
        dataset = file.create_dataset(name, data=np.bytes_(raw), dtype=dtype)
        dataset.attrs["checksum"] = np.uint32(zlib.crc32(raw))


def test_as_it_is(planted):
    assert planted(READERS + HEAVY) == [0] * len(READERS + HEAVY)


def test_the_source_text(planted):
    rewrite(planted.path, "source/experiment.py", PYTHON + "\nraise SystemExit\n")
    assert planted(READERS + HEAVY) == [0] * len(READERS + HEAVY)


def leaves(value, where=()):
    """Places of everything in a JSON object that is no list or object itself."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from leaves(value[key], (*where, key))
    else:
        yield where


@pytest.mark.parametrize("payload", PAYLOADS, ids=["python", "terminal"])
def test_the_definition(planted, original, payload):
    with h5py.File(original) as file:
        definition = json.loads(file["definition"][()])
    places = list(leaves(definition))
    assert len(places) > 40
    for where in places:
        changed = json.loads(json.dumps(definition))
        inner = changed
        for key in where[:-1]:
            inner = inner[key]
        inner[where[-1]] = payload
        rewrite(planted.path, "definition", json.dumps(changed))
        # Some of these are as good as the original, others are refused; none is a traceback.
        assert set(planted([["status"], ["best"], ["explain", "10"]])) <= {0, 1, 2}


@pytest.mark.parametrize(
    "text",
    ["[" * 5000, "null", "[]", "{}", '{"parameters": 3}', "\x1b[2J", '{"a": ' * 900 + "1"],
)
def test_a_definition_that_is_none(planted, text):
    rewrite(planted.path, "definition", text)
    assert set(planted()) == {1, 2}  # 1: --verify says what is damaged


@pytest.mark.parametrize(
    "label", ["O", "[('a', 'O')]", PYTHON, "[" * 300, "{'names': " + PYTHON + "}", "V" * 10]
)
def test_a_type_of_a_parameter(planted, original, label):
    with h5py.File(original) as file:
        definition = json.loads(file["definition"][()])
    definition["parameters"][4]["type"] = label
    rewrite(planted.path, "definition", json.dumps(definition))
    assert set(planted()) == {1, 2}


@pytest.mark.parametrize(
    "payload", [*PAYLOADS, "2 * " + PYTHON], ids=["python", "terminal", "expr"]
)
def test_the_rows(planted, payload):
    raw = payload.encode()
    with h5py.File(planted.path, "r+") as file:
        table = file["evaluations"]
        rows = table[:]
        rows["values"]["word"] = raw
        rows["values"]["twice"] = raw
        for name in ("error", "host"):
            rows[name] = raw
        rows["more_metrics"] = json.dumps({payload[:60]: 1.0}, ensure_ascii=False).encode()
        rows["status"][:2] = 3  # failed
        size = rows.dtype.itemsize
        for i in range(len(rows)):
            rows["checksum"][i] = schema.checksum(rows[i : i + 1].view(np.uint8).data[:size])
        table[:] = rows
        file["errors"][:] = PICKLED
        sets = file["parameter_sets"][:]
        sets["values"]["word"] = sets["values"]["twice"] = raw
        file["parameter_sets"][:] = sets
        file["parameter_sets"].attrs["checksum"] = np.uint32(zlib.crc32(sets.tobytes()))
    statuses = planted(READERS + HEAVY)
    assert statuses[:3] == [0, 0, 0]
    assert not len(read(planted.path, verify=True).torn)


def test_the_attributes(planted):
    with h5py.File(planted.path, "r+") as file:
        for name in list(file.attrs):
            if name != "format_version":
                file.attrs[name] = TERMINAL + PYTHON
        file.attrs["pickled"] = np.void(PICKLED)
        file.attrs["objects"] = np.array([PICKLED.hex()], h5py.string_dtype())
    assert planted(READERS + HEAVY)[0] == 0
    with h5py.File(planted.path, "r+") as file:
        file.attrs["format_version"] = 99
    assert set(planted()) == {2}
    with h5py.File(planted.path, "r+") as file:
        file.attrs["format_version"] = np.void(PICKLED)
    assert set(planted()) == {2}


@pytest.mark.parametrize(
    "name", ["parameter_sets", "evaluations", "errors", "log", "definition", "source/experiment.py"]
)
def test_pickled_bytes_in_the_place_of_a_dataset(planted, name):
    kinds = {
        "objects": dict(data=[PICKLED.hex()] * 11, dtype=h5py.string_dtype()),
        "bytes": dict(data=np.frombuffer(PICKLED, np.uint8)),
        "opaque": dict(data=np.void(PICKLED)),
        "reference": None,
    }
    for what in kinds.values():
        with h5py.File(planted.path, "r+") as file:
            del file[name]
            if what is None:
                file.create_dataset(name, data=file.ref, dtype=h5py.ref_dtype)
            else:
                file.create_dataset(name, **what)
        assert set(planted()) <= {0, 1, 2}


def test_resuming_it_runs_only_the_users_own_file(launch, original):
    launch.write("experiment.py", EXPERIMENT)
    path = launch.folder / "experiment.h5"
    path.write_bytes(original.read_bytes())
    rewrite(path, "source/experiment.py", PYTHON + "\n")
    with h5py.File(path, "r+") as file:
        row = np.zeros(1, file["evaluations"].dtype)
        file["evaluations"][3] = row[0]
    done = launch.phs(None, "experiment.py")
    assert done.returncode == 0, done.stderr
    assert "experiment.py has changed since the results file was made" in done.stderr
    assert read(path, verify=True).complete
    # Without the user's file there is nothing to run.
    (launch.folder / "experiment.py").unlink()
    done = launch.phs(None, "experiment.py")
    assert done.returncode == 2
    done = launch.phs(None, "experiment.h5")
    assert done.returncode == 2
    assert "is not a text file" in done.stderr
    assert not (launch.folder / "PWNED").exists()


def test_what_is_refused_is_named(planted):
    rewrite(planted.path, "definition", "null")
    with pytest.raises(StoreError, match="is damaged or not a results file"):
        read(planted.path)
