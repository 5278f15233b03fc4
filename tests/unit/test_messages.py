"""Layouts of the MPI messages; passes without mpi4py."""

import math

import numpy as np
import pytest

from phs_mpi.backends.mpi import messages
from phs_mpi.log import EntryKind, LogEntry

ROW = np.dtype([("x", "f8"), ("s", "S12")])


def row(x):
    return np.array((x, b"abc"), ROW)


def travelled(entries):
    """Entries as another rank gets them: a header, then rows if there are any."""
    decoded, count = messages.decode_header(messages.encode_header(entries))
    rows = messages.encode_rows(entries, ROW)
    assert len(rows) == count
    return messages.with_rows(decoded, rows)


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


@pytest.mark.parametrize("count", [0, 1, messages.HEADER_ENTRIES])
def test_header_has_one_size_whatever_it_holds(count):
    entries = [LogEntry(EntryKind.STARTED, i, 1) for i in range(count)]
    buffer = messages.encode_header(entries)
    assert buffer.nbytes == messages.header().nbytes
    assert len(messages.decode_header(buffer)[0]) == count


def test_end_of_exchange():
    assert messages.decode_header(messages.encode_header(None)) is None


def test_too_many_entries_are_refused():
    entries = [LogEntry(EntryKind.STARTED, 0, 1)] * (messages.HEADER_ENTRIES + 1)
    with pytest.raises(ValueError, match="65 entries"):
        messages.encode_header(entries)


def test_proposed_values_stand_in_the_message():
    buffer = messages.to_master(ROW)
    assert buffer.nbytes == messages.WORD_BYTES + ROW.itemsize
    buffer[messages.WORD_BYTES :] = np.frombuffer(row(7.0).tobytes(), np.uint8)
    found = messages.row_in(buffer, ROW)
    buffer[:] = 0
    assert found == row(7.0)
