"""Layouts of the MPI messages; passes without mpi4py."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phs_mpi.backends.mpi import messages
from phs_mpi.events import Start
from phs_mpi.log import EntryKind, LogEntry

ROW = np.dtype([("x", "f8"), ("s", "S12")])


def row(x):
    return np.array((x, b"abc"), ROW)


def travelled(entries):
    """Entries as another rank gets them: a header, then a payload if there is one."""
    header, payload = messages.encode(entries, ROW)
    assert header.nbytes == messages.header().nbytes <= messages.LIGHT_BYTES
    head = messages.decode_header(header)
    assert messages.payload_for(head, ROW).nbytes == payload.nbytes
    return messages.decode(head, payload, ROW)


def test_entries_arrive_with_results_and_rows():
    entries = [
        LogEntry(EntryKind.STARTED, 2**40, 1, row=row(1.5)),
        LogEntry(EntryKind.COMPLETED, 0, 63, result=-1e-300),
        LogEntry(EntryKind.STARTED, 3, 2),
        LogEntry(EntryKind.LOST, 5, 2),
        LogEntry(EntryKind.STARTED, 4, 1, row=row(-2.5)),
    ]
    arrived = travelled(entries)
    assert [e[:3] for e in arrived] == [e[:3] for e in entries]
    assert [e.row is None for e in arrived] == [e.row is None for e in entries]
    assert (arrived[0].row, arrived[4].row) == (row(1.5), row(-2.5))
    assert arrived[1].result == -1e-300
    assert math.isnan(arrived[0].result)


@pytest.mark.parametrize("bits", [0x7FF8000000000000, 0x7FF8000000000123, 0x8000000000000000])
def test_results_keep_their_bits(bits):
    result = messages.word_to_result(bits - 2**64 if bits >= 2**63 else bits)
    arrived = travelled([LogEntry(EntryKind.COMPLETED, 0, 1, result=result)])[0]
    assert messages.result_to_word(arrived.result) % 2**64 == bits


@pytest.mark.parametrize("count", [0, 1, 10, 11, messages.BATCH_ENTRIES])
@pytest.mark.parametrize("every", [0, 1, 3])
def test_any_number_of_entries_arrives(count, every):
    entries = [
        LogEntry(EntryKind.STARTED, i, 1, row=row(i))
        if every and i % every == 0
        else LogEntry(EntryKind.COMPLETED, i, 2**31, result=i / 7)
        for i in range(count)
    ]
    arrived = travelled(entries)
    assert [e[:3] for e in arrived] == [e[:3] for e in entries]
    assert [e.row for e in arrived] == [e.row for e in entries]
    assert [e.result for e in arrived if e.row is None] == [
        e.result for e in entries if e.row is None
    ]


def test_nothing_follows_where_the_header_has_room():
    entries = [LogEntry(EntryKind.COMPLETED, i, 1, result=0.5) for i in range(10)]
    assert messages.encode(entries, ROW)[1].nbytes == 0
    assert messages.encode([*entries, entries[0]], ROW)[1].nbytes == messages.ENTRY_DTYPE.itemsize


def test_end_of_exchange():
    header, payload = messages.encode(None, ROW)
    assert messages.decode_header(header) is None
    assert payload.nbytes == 0


def test_too_many_entries_are_refused():
    entries = [LogEntry(EntryKind.STARTED, 0, 1)] * (messages.BATCH_ENTRIES + 1)
    with pytest.raises(ValueError, match=f"{messages.BATCH_ENTRIES + 1} entries"):
        messages.encode(entries, ROW)


def test_proposed_values_stand_in_the_message():
    buffer = messages.to_master(ROW)
    assert buffer.nbytes == messages.WORD_BYTES + ROW.itemsize
    buffer[messages.WORD_BYTES :] = np.frombuffer(row(7.0).tobytes(), np.uint8)
    found = messages.row_in(buffer, ROW)
    buffer[:] = 0
    assert found == row(7.0)


@given(st.booleans(), st.floats(0, 1e9))
def test_what_done_says_of_an_evaluation(again, seconds):
    arrived = messages.decode_done(messages.encode_done(again, seconds))
    assert arrived[0] == again
    assert arrived[1] == pytest.approx(seconds, abs=1e-6)


@given(st.booleans(), st.integers(1, 1000), st.booleans(), st.booleans())
def test_how_a_set_is_to_be_evaluated(chosen, attempt, known, ahead):
    how = messages.decode_how(messages.encode_how(Start(1, 2, 3, chosen, attempt, known, ahead)))
    assert how == messages.How(chosen=chosen, known=known, ahead=ahead, attempt=attempt)
