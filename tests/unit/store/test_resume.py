import os

import h5py
import numpy as np
import pytest
from results import PROVENANCE, SOURCE, evaluate, make_experiment, resume

from phs_mpi.errors import StoreError
from phs_mpi.log import EntryKind, Log, LogReader
from phs_mpi.store import hdf5, open_store, prepare, read, schema
from phs_mpi.store.verify import verify


@pytest.fixture
def path(tmp_path):
    """A file in which 0 to 13 are evaluated, 3 and 12 unsuccessfully."""
    path = tmp_path / "a.h5"
    assert resume(path, make_experiment()).created
    evaluate(path, make_experiment(), range(14), failed=[3, 12])
    return path


def damage(path, index):
    with h5py.File(path) as file:
        rows = file["evaluations"]
        offset = rows.id.get_offset() + (index + 1) * rows.dtype.itemsize - 10
    with open(path, "r+b") as stream:
        stream.seek(offset)
        stream.write(b"\xff")


def replayed(found):
    reader = LogReader(Log(found.replay))
    reader.advance(len(found.replay))
    return reader


def test_a_new_file(tmp_path):
    found = resume(tmp_path / "a.h5", make_experiment())
    assert found.created
    assert found.missing == list(range(20))
    assert found.replay == []
    assert found.notes == []


def test_finished_sets_are_not_missing_and_the_log_is_replayed(path):
    before = path.read_bytes()
    found = resume(path, make_experiment())
    assert not found.created
    assert found.missing == list(range(14, 20))
    assert found.notes == []
    assert path.read_bytes() == before
    reader = replayed(found)
    assert not reader.pending
    assert list(reader.completed) == list(range(14))
    snapshot = read(path)
    for index, result in reader.completed.items():
        np.testing.assert_equal(result, snapshot.columns["result"][index])
    assert sorted(reader.rows) == [12, 13]  # the Bayesian ones
    unpack = make_experiment().table().unpack
    assert unpack(reader.rows[13]) == snapshot.values(13)
    assert {entry.worker for entry in found.replay} == {1, 2, 3}


def test_a_complete_file(path):
    evaluate(path, make_experiment(), range(14, 20))
    assert resume(path, make_experiment()).missing == []


def test_what_a_killed_run_left_open(path):
    table = make_experiment().table()
    with open_store(path, table) as store:
        # 14, 15 were running, 16 was committed and not logged, of 13 the row is lost
        store.append_log([EntryKind.STARTED] * 3, [14, 15, 16])
    log_before = read(path).log
    evaluate_row(path, 16)
    damage(path, 13)
    found = resume(path, make_experiment())
    assert found.missing == [13, 14, 15, 17, 18, 19]
    assert found.notes == ["1 damaged rows are evaluated again"]
    log = read(path).log
    assert log[: len(log_before)].tolist() == log_before.tolist()
    lost, completed = EntryKind.LOST, EntryKind.COMPLETED
    assert log[len(log_before) :].tolist() == [(13, lost), (14, lost), (15, lost), (16, completed)]
    assert [(e.index, e.kind) for e in found.replay] == log.tolist()
    reader = replayed(found)
    assert not reader.pending
    assert 13 not in reader.completed
    assert reader.completed[16] == read(path).columns["result"][16]
    again = resume(path, make_experiment())
    assert (again.missing, again.notes) == (found.missing, [])
    assert len(again.replay) == len(found.replay)


def evaluate_row(path, index):
    from results import make_outcome, make_proposal

    table = make_experiment().table()
    with open_store(path, table) as store:
        proposal = make_proposal(table, index)
        store.commit(proposal, make_outcome(proposal))


def test_rubbish_behind_the_log_is_removed(path):
    length = len(read(path).log)
    with h5py.File(path, "r+") as file:
        file["log"][length + 5] = np.array((3, EntryKind.STARTED), schema.LOG_DTYPE)
    assert read(path).log_has_gaps
    resume(path, make_experiment())
    snapshot = read(path)
    assert not snapshot.log_has_gaps
    assert len(snapshot.log) == length


def test_retry_failed(path):
    found = resume(path, make_experiment(), retry_failed=True)
    assert found.missing == [3, 12, *range(14, 20)]
    assert found.notes == ["2 failed evaluations are run again"]
    assert 3 not in replayed(found).completed
    snapshot = read(path, verify=True)
    assert np.flatnonzero(snapshot.finished).tolist() == [i for i in range(14) if i not in (3, 12)]
    with h5py.File(path) as file:
        assert file["errors"][3] == b""
    # Without the option failures stay.
    evaluate(path, make_experiment(), [3], failed=[3])
    assert resume(path, make_experiment()).missing == [12, *range(14, 20)]


def values_of(path, indices):
    snapshot = read(path, verify=True)
    return {i: (snapshot.values(i), snapshot.error(i), snapshot.traceback(i)) for i in indices}


@pytest.mark.parametrize("wider", [False, True])
def test_a_grown_experiment(path, wider):
    before = values_of(path, range(14))
    results = read(path).columns["result"][:14]
    created = read(path).attributes["created"]
    grown = make_experiment()
    grown.add(5, x=0.5, y=0.25, kind="a wider text" if wider else "a")
    found = prepare(path, grown.table(), grown.describe(), "longer", PROVENANCE)
    assert found.missing == list(range(14, 25))
    assert found.notes == ["extended from 20 to 25 parameter sets"]
    assert values_of(path, range(14)) == before
    snapshot = read(path, verify=True)
    np.testing.assert_equal(snapshot.columns["result"][:14], results)
    assert snapshot.definition == grown.describe()
    assert snapshot.source == "longer"
    assert snapshot.attributes["created"] == created
    assert replayed(found).completed.keys() == set(range(14))
    assert os.listdir(path.parent) == [path.name]
    evaluate(path, grown, range(14, 25))
    assert read(path, verify=True).complete
    assert prepare(path, grown.table(), grown.describe(), "longer", PROVENANCE).missing == []


def test_more_sets_in_the_last_group(path):
    assert resume(path, make_experiment(searched=30)).missing == list(range(14, 42))


def test_growing_and_retrying_at_once(path):
    found = resume(path, make_experiment(searched=9), retry_failed=True)
    assert found.missing == [3, 12, *range(14, 21)]
    assert read(path, verify=True).error(3) == ""


def test_growing_a_file_behind_a_link(path):
    link = path.with_name("link.h5")
    link.symlink_to(path.name)
    resume(link, make_experiment(searched=9))
    assert link.is_symlink()
    assert len(read(path)) == 21


def test_a_file_that_another_tool_rewrote_is_put_in_order(path):
    with h5py.File(path, "r+") as file:
        rows, dtype = file["evaluations"][()], file["evaluations"].dtype
        del file["evaluations"]
        file.create_dataset("evaluations", data=rows, dtype=dtype, compression="gzip")
    assert resume(path, make_experiment()).missing == list(range(14, 20))
    assert read(path).in_place
    evaluate(path, make_experiment(), range(14, 20))


def without_exchanging(path):
    """Make it a file as they were before that field."""
    with h5py.File(path, "r+") as file:
        rows = file["evaluations"][()]
        values, metrics = rows.dtype["values"], schema.metric_names(rows.dtype)
        early = hdf5.typed(schema.evaluation_dtype(values, metrics, exchanging=False))
        old = np.zeros(len(rows), early)
        for name in early.names:
            old[name] = rows[name]
        for i in np.flatnonzero(old["status"]):
            old["checksum"][i] = schema.checksum(old[i : i + 1].view(np.uint8).data)
        del file["evaluations"]
        file.create_dataset("evaluations", data=old, dtype=early)


def test_an_early_file_is_read_and_goes_on(path):
    recent = read(path)
    values = [recent.values(i) for i in range(14)]
    errors = [recent.error(i) for i in range(14)]
    without_exchanging(path)
    early = read(path)
    assert np.isnan(early.columns["exchanging"]).all()
    assert early.finished.tolist() == recent.finished.tolist()
    assert verify(path).problems == []
    found = resume(path, make_experiment())
    assert found.missing == list(range(14, 20))
    evaluate(path, make_experiment(), found.missing)
    now = read(path)
    assert now.finished.all()
    assert verify(path).problems == []
    np.testing.assert_equal(now.columns["exchanging"], [np.nan] * 14 + [0.01] * 6)
    for name in ("result", "start", "worker", "waiting"):
        np.testing.assert_equal(now.columns[name][:14], recent.columns[name][:14])
    assert [now.values(i) for i in range(14)] == values
    assert [now.error(i) for i in range(14)] == errors


def test_a_changed_text_of_the_same_experiment_is_only_told(path):
    experiment = make_experiment()
    found = prepare(path, experiment.table(), experiment.describe(), "# new", PROVENANCE)
    (note,) = found.notes
    assert "experiment.py has changed" in note
    assert read(path).source == SOURCE


def test_an_option_that_may_change_is_only_told(path):
    (note,) = resume(path, make_experiment(wait_for_all=True)).notes
    assert note.startswith("wait_for_all is False in the file, True now")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"seed": 8}, "seed is 7 in the file, 8 now"),
        ({"maximize": True}, "maximize is False in the file, True now"),
        ({"metrics": ["loss"]}, "metrics"),
        ({"drawn": 13}, "group 0 has 12 parameter sets in the file, 13 now"),
        ({"searched": 7}, "group 1 has 8 parameter sets in the file, 7 now"),
        ({"searched": 0}, "the file has 2 groups of parameter sets, 1 now"),
        ({"low": -4}, r"group 0: x\.low is -5 in the file, -4 now"),
        ({"kinds": ["a", "c"]}, r"group 0: kind\.values\[1\] is 'bb' in the file, 'c' now"),
    ],
)
def test_another_experiment_is_refused_with_what_differs(path, other, words):
    before = path.read_bytes()
    with pytest.raises(StoreError, match=words) as caught:
        resume(path, make_experiment(**other))
    assert "belongs to another experiment" in str(caught.value)
    assert "--output" in str(caught.value)
    assert path.read_bytes() == before


def test_other_values_of_the_same_definition_are_refused(path):
    experiment = make_experiment()
    table = experiment.table()
    table.values["x"][5] = 4.75
    with pytest.raises(StoreError, match=r"set 5: x is .* in the file, 4\.75 now"):
        prepare(path, table, experiment.describe(), SOURCE, PROVENANCE)


def test_a_longer_text_with_the_same_beginning_is_another_value(path):
    experiment = make_experiment()
    table = experiment.table()
    wider = np.dtype([("x", "f8"), ("y", "f8"), ("kind", "S9")])
    table.values, table.dtype = table.values.astype(wider), wider
    assert prepare(path, table, experiment.describe(), SOURCE, PROVENANCE).missing[0] == 14
    table.values["kind"][2] += b"cdefg"
    with pytest.raises(StoreError, match=r"set 2: kind is '.*' in the file, '.*cdefg' now"):
        prepare(path, table, experiment.describe(), SOURCE, PROVENANCE)


def test_a_folder_in_its_place(tmp_path):
    with pytest.raises(StoreError, match="is a folder"):
        resume(tmp_path, make_experiment())


def test_not_hdf5(tmp_path):
    (tmp_path / "a.h5").write_text("x = 1\n")
    with pytest.raises(StoreError, match=r"is not an HDF5 file; move it away, or .* --output$"):
        resume(tmp_path / "a.h5", make_experiment())
    assert (tmp_path / "a.h5").read_text() == "x = 1\n"


def test_a_file_that_may_not_be_written(path, monkeypatch):
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda p, mode: access(p, mode) and not (p == path and mode == os.W_OK)
    )
    with pytest.raises(
        StoreError, match=r"permission denied; change its permissions, .* --output$"
    ):
        resume(path, make_experiment())
