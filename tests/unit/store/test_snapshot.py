import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from results import evaluate, make_experiment, make_outcome, make_proposal, resume

from phs_mpi.errors import StoreError
from phs_mpi.log import EntryKind, Status
from phs_mpi.store import open_store, read
from phs_mpi.store.verify import verify
from phs_mpi.summary import status_text

TESTS = Path(__file__).parents[2]

WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from results import *
evaluate(sys.argv[1], make_experiment(1500, 1500), range(3000), failed=range(0, 3000, 7))
"""


@pytest.fixture
def path(tmp_path):
    """A file with some evaluations, one of them failed."""
    path = tmp_path / "a.h5"
    resume(path, make_experiment())
    evaluate(path, make_experiment(), [0, 3, 14], failed=[3])
    return path


def test_what_it_holds(path):
    experiment = make_experiment()
    snapshot = read(path)
    assert len(snapshot) == 20
    assert not snapshot.complete
    assert not snapshot.maximize
    assert snapshot.definition == experiment.describe()
    assert snapshot.attributes["seed"] == 7
    assert np.flatnonzero(snapshot.finished).tolist() == [0, 3, 14]
    assert np.flatnonzero(snapshot.done).tolist() == [0, 14]
    assert snapshot.log["index"].tolist() == [0, 0, 3, 3, 14, 14]
    assert snapshot.values(1) == experiment.table().defined(1)  # not evaluated: as defined
    assert snapshot.error(3) == "ValueError: no good: 3"
    assert "Traceback: line 3" in snapshot.traceback(3)
    assert snapshot.error(1) == snapshot.traceback(1) == ""
    assert snapshot.types.keys() == experiment.table().types.keys()


def test_a_torn_row_reads_as_not_evaluated(path):
    with h5py.File(path, "r+") as file:
        offset = file["evaluations"].id.get_offset() + 14 * file["evaluations"].dtype.itemsize
    with open(path, "r+b") as stream:
        stream.seek(offset)
        stream.write(b"\xff")
    # The log has said that row 14 was complete: it is looked at only if asked for.
    assert read(path).done[14]
    snapshot = read(path, verify=True)
    assert snapshot.torn.tolist() == [14]
    assert np.flatnonzero(snapshot.finished).tolist() == [0, 3]
    assert snapshot.status[14] == Status.EMPTY


def test_a_torn_row_that_the_log_does_not_know_is_always_found(path):
    with h5py.File(path, "r+") as file:
        row = file["evaluations"][7]
        row["status"], row["result"] = Status.DONE, 1.0  # and no checksum
        file["evaluations"][7] = row
    assert read(path).torn.tolist() == [7]


def test_reading_while_another_process_writes(tmp_path):
    path = tmp_path / "a.h5"
    experiment = make_experiment(1500, 1500)
    resume(path, experiment)
    process = subprocess.Popen([sys.executable, "-c", WRITER, path, TESTS])
    counts, failures = [], []
    while process.poll() is None:
        snapshot = read(path, verify=True)
        counts.append(int(np.count_nonzero(snapshot.finished)))
        failures.append(len(snapshot.torn))
        logged = snapshot.log["index"][snapshot.log["kind"] == EntryKind.COMPLETED]
        assert snapshot.finished[logged].all()
    assert process.returncode == 0
    assert counts == sorted(counts)
    assert any(0 < count < 3000 for count in counts)
    # A row may be caught while it is being written; it is whole a moment later.
    assert max(failures) <= 1
    assert read(path, verify=True).complete


def test_reading_leaves_the_file_alone(path):
    before = path.read_bytes()
    with open_store(path, make_experiment().table()):
        read(path)
    assert path.read_bytes() == before


def test_a_file_that_another_tool_rewrote(path):
    copy = path.with_name("copy.h5")
    with h5py.File(path) as old, h5py.File(copy, "w") as new:
        for name in ("parameter_sets", "errors", "log"):
            old.copy(name, new)
        old.copy("definition", new)
        old.copy("source", new)
        new.attrs.update(old.attrs)
        rows = old["evaluations"]
        new.create_dataset("evaluations", data=rows[()], dtype=rows.dtype, compression="gzip")
    snapshot = read(copy, verify=True)
    assert not snapshot.in_place
    assert np.flatnonzero(snapshot.finished).tolist() == [0, 3, 14]
    assert snapshot.values(14) == read(path).values(14)


def refused(path, words):
    with pytest.raises(StoreError, match=words) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    refused(tmp_path / "no.h5", "does not exist")


def test_a_folder(tmp_path):
    refused(tmp_path, "is a folder")


@pytest.mark.parametrize("text", ["", "import phs_mpi\n", "\x89HDF\r\n\x1a\n"])
def test_not_hdf5(tmp_path, text):
    path = tmp_path / "a.h5"
    path.write_text(text, encoding="latin-1", newline="")
    refused(path, "is not an HDF5 file|is damaged or not|truncated")


def test_cut_short(path):
    with open(path, "r+b") as stream:
        stream.truncate(path.stat().st_size // 2)
    refused(path, "is truncated: its end is missing; name another file$")


def test_somebody_elses_hdf5(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["evaluations"] = [1, 2]
    refused(path, "is an HDF5 file, but not a results file of phs_mpi")


def test_a_newer_format(path):
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 3
        file.attrs["phs_mpi"] = "9.0"
    refused(path, r"has format 3, written by phs_mpi 9\.0; this one .* to 2; upgrade phs_mpi")


def test_a_dataset_missing(path):
    with h5py.File(path, "r+") as file:
        del file["log"]
    refused(path, "is damaged: it has no /log")


def test_a_flood_of_garbage_in_the_middle(path):
    damaged = path.with_name("damaged.h5")
    shutil.copy(path, damaged)
    with open(damaged, "r+b") as stream:
        stream.seek(96)
        stream.write(b"\xa5" * 4000)
    refused(damaged, "is damaged")


class TestAttempts:
    @pytest.fixture
    def tried(self, tmp_path):
        """Set 2 failed once and then not; 5 failed twice; 14 is to be tried again."""
        path = tmp_path / "b.h5"
        experiment = make_experiment()
        resume(path, experiment)
        table = experiment.table()
        with open_store(path, table) as store:
            for index, statuses in {
                2: (Status.RUNNING, Status.DONE),
                5: (Status.RUNNING, Status.FAILED),
                14: (Status.RUNNING,),
            }.items():
                proposal = make_proposal(table, index)
                store.append_log([EntryKind.STARTED], [index])
                for attempt, status in enumerate(statuses, 1):
                    text = f"attempt {attempt}"
                    if status != Status.DONE:
                        text += ": was killed"
                    outcome = make_outcome(proposal, status, error=text, traceback="")
                    store.commit(proposal, outcome)
                if status != Status.RUNNING:
                    store.append_log([EntryKind.COMPLETED], [index])
        return path, experiment

    @pytest.mark.parametrize("verify", [False, True])
    def test_they_can_be_seen(self, tried, verify):
        snapshot = read(tried[0], verify=verify)
        assert np.flatnonzero(snapshot.finished).tolist() == [2, 5]
        assert np.flatnonzero(snapshot.done).tolist() == [2]
        assert np.flatnonzero(snapshot.attempts).tolist() == [2, 5, 14]
        assert snapshot.attempts[[2, 5, 14]].tolist() == [2, 2, 1]
        assert np.flatnonzero(snapshot.failed_before).tolist() == [2, 5, 14]
        assert not len(snapshot.torn)
        assert (
            snapshot.earlier_failure(2) == snapshot.earlier_failure(14) == "attempt 1: was killed"
        )
        assert snapshot.error(5) == "attempt 2: was killed"
        assert snapshot.error(2) == snapshot.error(14) == snapshot.earlier_failure(0) == ""

    def test_one_that_is_to_come_is_missing_and_not_damaged(self, tried):
        path, experiment = tried
        found = resume(path, experiment)
        assert 14 in found.missing
        assert not {2, 5} & set(found.missing)
        assert not any("damaged" in note for note in found.notes)
        assert [e.kind for e in found.replay if e.index == 14] == [
            EntryKind.STARTED,
            EntryKind.LOST,
        ]

    def test_also_when_the_file_is_made_anew(self, tried):
        path, experiment = tried
        experiment.add(4, x=0.0, y=0.0, kind="a")
        found = resume(path, experiment)
        assert {14, 20, 23} <= set(found.missing)
        snapshot = read(path, verify=True)
        assert np.flatnonzero(snapshot.finished).tolist() == [2, 5]
        assert snapshot.attempts[[2, 5]].tolist() == [2, 2]
        assert snapshot.earlier_failure(2) == "attempt 1: was killed"
        assert "2 evaluations were tried again, 1 of them with success" in status_text(snapshot)

    def test_the_status_does_without_a_reason_that_is_gone(self, tried):
        with h5py.File(tried[0], "r+") as file:
            file["errors"][2] = b""
            row = file["evaluations"][5]
            row["status"], row["error"] = Status.EMPTY, b""
            file["evaluations"][5] = row
            file["evaluations"][14] = row
        assert "1 evaluation was tried again" in status_text(read(tried[0]))

    def test_a_check_finds_nothing_wrong_with_them(self, tried):
        found = verify(tried[0])
        assert found.sound
        assert found.whole.tolist() == [2, 5]
        assert found.attempts.tolist() == [14]

    def test_a_damaged_one_is_torn(self, tried):
        with h5py.File(tried[0], "r+") as file:
            row = file["evaluations"][14]
            row["start"] = 7.0
            file["evaluations"][14] = row
        snapshot = read(tried[0])
        assert snapshot.torn.tolist() == [14]
        assert not snapshot.failed_before[14]
        assert verify(tried[0]).torn.tolist() == [14]
