import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phs_mpi.log import EntryKind, Status
from phs_mpi.store import schema
from phs_mpi.store.checks import (
    RowState,
    Verification,
    contradictions,
    ranges,
    row_states,
)

STARTED, COMPLETED, LOST = EntryKind.STARTED, EntryKind.COMPLETED, EntryKind.LOST


def finished_row(size=40, status=Status.DONE):
    row = np.arange(1, size + 1, dtype=np.uint8)
    row[-1] = status
    row[-5:-1] = np.frombuffer(schema.checksum(row.data).to_bytes(4, "little"), np.uint8)
    return row


def test_states_of_rows():
    rows = np.zeros((6, 40), np.uint8)
    rows[1] = finished_row()
    rows[2] = finished_row(status=Status.FAILED)
    rows[3] = finished_row()
    rows[3, 4] ^= 1
    rows[4, :20] = finished_row()[:20]  # cut short: the status comes last
    rows[5] = finished_row(status=Status.RUNNING)
    E, W, T = RowState.EMPTY, RowState.WHOLE, RowState.TORN
    assert row_states(rows).tolist() == [E, W, W, T, T, RowState.ATTEMPT]


@given(st.integers(0, 39), st.integers(1, 255))
def test_any_changed_byte_of_a_row_is_found(place, difference):
    row = finished_row()
    row[place] ^= difference
    assert row_states(row[None]).tolist() == [RowState.TORN]


def log_of(*entries, room=4):
    log = np.zeros(len(entries) + room, schema.LOG_DTYPE)
    for place, (kind, index) in enumerate(entries):
        log[place] = index, kind
    return log


@pytest.mark.parametrize(
    ("entries", "wrong"),
    [
        ([(STARTED, 0), (COMPLETED, 0), (STARTED, 2)], {}),
        # A killed run may have left the order of its last rows unwritten: they are put in later.
        ([(COMPLETED, 0), (COMPLETED, 1)], {}),
        ([(STARTED, 0), (COMPLETED, 0), (LOST, 0), (STARTED, 0), (COMPLETED, 0)], {}),
        ([(COMPLETED, 0), (COMPLETED, 0)], {1: "completed before"}),
        ([(COMPLETED, 0), (STARTED, 0)], {1: "started, which was completed before"}),
        ([(COMPLETED, 2)], {0: "whose row is empty"}),
        ([(COMPLETED, 3)], {0: "whose row is torn"}),
        ([(COMPLETED, 3), (LOST, 3)], {}),
        ([(COMPLETED, 4)], {0: "whose row is of an attempt"}),
        ([(STARTED, 7)], {0: "set 7, of which there is none"}),
        ([(9, 0)], {0: "kind 9"}),
        ([(STARTED, 0), (0, 5), (COMPLETED, 1)], {2: "follows entries that are none"}),
    ],
)
def test_what_a_log_cannot_say(entries, wrong):
    whole, empty, torn, attempt = RowState.WHOLE, RowState.EMPTY, RowState.TORN, RowState.ATTEMPT
    states = np.array([whole, whole, empty, torn, attempt])
    found = contradictions(log_of(*entries), states)
    assert found.keys() == wrong.keys()
    for place, words in wrong.items():
        assert words in found[place]


def test_a_verification_survives_json(tmp_path):
    found = Verification(tmp_path / "a.h5", 3, np.array([0]), np.array([1]), np.array([2]))
    found.contradictions, found.problems = {5: "wrong"}, ["its end is missing"]
    again = Verification.from_json(found.to_json())
    assert again.to_json() == found.to_json()
    assert not again.sound
    assert Verification(tmp_path / "a.h5").sound


@given(st.sets(st.integers(0, 50)))
def test_ranges_name_just_the_indices(indices):
    named = set()
    for part in filter(None, ranges(sorted(indices)).split(", ")):
        low, _, high = part.partition("-")
        named |= set(range(int(low), int(high or low) + 1))
    assert named == indices
