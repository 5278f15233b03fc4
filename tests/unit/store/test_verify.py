"""`status --verify`: damage to real files is found, and nothing in a file brings it down."""

import os
import random
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from results import evaluate, make_experiment, make_outcome, make_proposal, resume

from phs_mpi.errors import StoreError
from phs_mpi.log import EntryKind
from phs_mpi.store import open_store
from phs_mpi.store import verify as module
from phs_mpi.store.verify import check, verify
from phs_mpi.verdict import verdict

TESTS = Path(__file__).parents[2]
FINISHED = [0, 3, 7, 14]

WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from results import *
evaluate(sys.argv[1], make_experiment(3000, 0), range(3000))
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A file with some evaluations, one of them failed."""
    path = tmp_path_factory.mktemp("original") / "a.h5"
    resume(path, make_experiment())
    evaluate(path, make_experiment(), FINISHED, failed=[3])
    return path


@pytest.fixture
def path(original, tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(original.read_bytes())
    return path


@pytest.fixture
def at_once(monkeypatch):
    """Nobody writes these files: no second look."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)


def place_of(path, name):
    with h5py.File(path) as file:
        dataset = file[name]
        return dataset.id.get_offset(), dataset.dtype.itemsize, dataset.size


def flip(path, offset, difference):
    with path.open("r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)[0]
        stream.seek(offset)
        stream.write(bytes([byte ^ difference]))


def test_a_sound_file(path):
    found = verify(path)
    assert found.sound
    assert found.rows == 20
    assert found.whole.tolist() == FINISHED
    assert len(found.empty) == 16
    assert found.log_entries == 8
    assert not found.unchecked
    assert verdict(found).splitlines() == [
        f"{path}: 20 rows: 4 whole, 16 empty, 0 torn",
        "log: 8 entries sound, 0 contradicting",
        "verdict: sound",
    ]


@given(st.sampled_from(FINISHED), st.integers(0, 10**6), st.integers(1, 255))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_flip_in_a_finished_row_is_found(path, at_once, index, place, difference):
    offset, size, _ = place_of(path, "evaluations")
    offset += index * size + place % size
    flip(path, offset, difference)
    found = check(path)
    flip(path, offset, difference)
    assert found.torn.tolist() == [index]
    assert found.whole.tolist() == [i for i in FINISHED if i != index]
    assert not found.sound
    (wrong,) = found.contradictions.values()
    assert wrong == f"calls evaluation {index} completed, whose row is torn"
    assert f"  torn: {index}\n" in verdict(found)


@given(st.integers(0, 10**6), st.integers(1, 255))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_flip_in_what_is_written_once_is_found(path, at_once, place, difference):
    name = ["parameter_sets", "definition", "source/experiment.py"][place % 3]
    offset, size, count = place_of(path, name)
    offset += place // 3 % (size * count)
    flip(path, offset, difference)
    found = check(path)
    flip(path, offset, difference)
    assert any(name in problem for problem in found.problems), found.problems
    assert found.whole.tolist() == FINISHED


@given(st.integers(0, 10**6), st.integers(1, 255))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flip_in_the_log_leaves_the_rows_alone(path, at_once, place, difference):
    offset, size, count = place_of(path, "log")
    offset += place % (size * count)
    flip(path, offset, difference)
    found = check(path)
    flip(path, offset, difference)
    assert found.whole.tolist() == FINISHED
    assert not found.problems


def test_the_log_is_held_against_the_rows(path):
    experiment = make_experiment()
    with open_store(path, experiment.table()) as store:
        store.append_log([EntryKind.STARTED, EntryKind.COMPLETED], [5, 5])
        proposal = make_proposal(experiment.table(), 6)
        store.commit(proposal, make_outcome(proposal))
    found = verify(path)
    assert found.contradictions == {9: "calls evaluation 5 completed, whose row is empty"}
    assert found.unlogged == 1
    assert "1 whole rows are not in it yet" in verdict(found)


@pytest.mark.parametrize("seed", range(12))
def test_a_truncated_file(path, at_once, seed):
    size = path.stat().st_size
    offset, row, _ = place_of(path, "evaluations")
    length = random.Random(seed).randrange(offset, size)
    os.truncate(path, length)
    found = check(path)
    assert not found.sound
    assert f"its end is missing: {size - length} of {size} bytes" in found.problems
    # What is there is there.
    assert found.whole.tolist() == [i for i in FINISHED if offset + (i + 1) * row <= length]


@pytest.mark.parametrize("seed", range(12))
def test_damage_anywhere_never_brings_it_down(path, at_once, seed):
    draw = random.Random(seed)
    raw = bytearray(path.read_bytes())
    used = [place for place, byte in enumerate(raw[:8192]) if byte]  # mostly HDF5's own
    for _ in range(draw.randrange(1, 4)):
        raw[draw.choice(used)] ^= draw.randrange(1, 256)
    if draw.random() < 0.3:
        del raw[draw.randrange(len(raw)) :]
    path.write_bytes(raw)
    try:
        words = verdict(verify(path))
    except StoreError as error:
        words = str(error)
    assert str(path) in words


def test_other_files_are_none(tmp_path):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["evaluations"] = np.arange(10)
    with pytest.raises(StoreError, match="not a results file of phs_mpi"):
        verify(other)
    for text in (b"", b"text\n" * 100, b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(5000)):
        other.write_bytes(text)
        with pytest.raises(StoreError):
            verify(other)
    with pytest.raises(StoreError, match="is a folder"):
        verify(tmp_path)
    with pytest.raises(StoreError, match="does not exist"):
        verify(tmp_path / "none.h5")


def test_missing_or_strange_parts_are_named(path):
    with h5py.File(path, "r+") as file:
        del file["errors"]
        del file["log"]
        file["log"] = np.zeros((3, 3))
        file["evaluations"].attrs["more"] = 1
    found = verify(path)
    assert found.problems[0] == "it has no /errors"
    assert any(problem.startswith("/log cannot be read") for problem in found.problems)
    assert found.whole.tolist() == FINISHED


def test_rows_of_another_experiment_are_named(path):
    with h5py.File(path, "r+") as file:
        text = file["definition"][()].replace(b'"count": 12', b'"count": 11')
        attributes = dict(file["definition"].attrs)
        del file["definition"]
        file["definition"] = np.bytes_(text)
        file["definition"].attrs.update(attributes)
    problems = verify(path).problems
    assert "/definition has changed since it was written" in problems
    assert "/evaluations has 20 rows, and 19 are defined" in problems


def test_a_file_of_an_earlier_version_says_what_has_no_checksum(path):
    with h5py.File(path, "r+") as file:
        for name in ("definition", "parameter_sets", "source/experiment.py"):
            del file[name].attrs["checksum"]
    found = verify(path)
    assert found.sound
    assert found.unchecked == ["/definition", "/source/experiment.py", "/parameter_sets"]


def test_a_file_that_is_being_written_is_sound(tmp_path):
    path = tmp_path / "a.h5"
    resume(path, make_experiment(3000, 0))
    process = subprocess.Popen([sys.executable, "-c", WRITER, path, TESTS])
    counts = set()
    while process.poll() is None:
        found = check(path)
        assert found.sound, verdict(found)
        counts.add(len(found.whole))
    assert process.returncode == 0
    assert counts - {0, 3000}
    assert len(check(path).whole) == 3000


def test_a_row_in_flight_gets_a_second_look(path):
    table = make_experiment().table()
    offset, size, _ = place_of(path, "evaluations")
    proposal = make_proposal(table, 10)
    with open_store(path, table) as store:
        store.commit(proposal, make_outcome(proposal))
    row = path.read_bytes()[offset + 10 * size : offset + 11 * size]
    with path.open("r+b", buffering=0) as stream:
        stream.seek(offset + 10 * size)
        stream.write(row[:50] + bytes(size - 50))
        finish = (
            "import sys, time; time.sleep(0.1); f = open(sys.argv[1], 'r+b', 0); "
            "f.seek(int(sys.argv[2])); f.write(bytes.fromhex(sys.argv[3]))"
        )
        assert check(path).torn.tolist() == [10]
        arguments = [str(path), str(offset + 10 * size), row.hex()]
        process = subprocess.Popen([sys.executable, "-c", finish, *arguments])
        while len(check(path).torn):
            assert process.poll() in (None, 0)
        process.wait()
    assert check(path).sound


@pytest.mark.parametrize(
    ("damage", "status"),
    [(None, 0), ("flip", 1), ("cut", 1), ("text", 2)],
)
def test_the_command(launch, original, damage, status):
    path = launch.folder / "a.h5"
    raw = bytearray(original.read_bytes())
    offset, size, _ = place_of(original, "evaluations")
    if damage == "flip":
        raw[offset + 3 * size + 5] ^= 1
    elif damage == "cut":
        del raw[-100:]
    elif damage == "text":
        raw = b"no results"
    path.write_bytes(raw)
    done = launch.phs(None, "status", "--verify", "a.h5")
    assert done.returncode == status, done.stdout + done.stderr
    if status < 2:
        assert done.stderr == ""
        assert done.stdout.splitlines()[-1].startswith(f"verdict: {'sd'[status]}")
    else:
        assert done.stderr.startswith("phs_mpi: error: a.h5 is not an HDF5 file")
