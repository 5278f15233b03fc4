"""Layouts of the MPI messages; passes without mpi4py."""

import numpy as np
import pytest

from phs_mpi.backends.mpi import messages
from phs_mpi.log import EntryKind, LogEntry


def test_header_round_trip():
    entries = [
        LogEntry(EntryKind.STARTED, 2**40, 1),
        LogEntry(EntryKind.COMPLETED, 0, 63),
        LogEntry(EntryKind.LOST, 5, 2),
    ]
    decoded = messages.decode_header(messages.encode_header(entries))
    assert [e[:3] for e in decoded] == [e[:3] for e in entries]


@pytest.mark.parametrize("count", [0, 1, messages.HEADER_ENTRIES])
def test_header_has_one_size_whatever_it_holds(count):
    entries = [LogEntry(EntryKind.STARTED, i, 1) for i in range(count)]
    buffer = messages.encode_header(entries)
    assert buffer.nbytes == messages.header().nbytes
    assert len(messages.decode_header(buffer)) == count


def test_end_of_exchange():
    assert messages.decode_header(messages.encode_header(None)) is None


def test_too_many_entries_are_refused():
    entries = [LogEntry(EntryKind.STARTED, 0, 1)] * (messages.HEADER_ENTRIES + 1)
    with pytest.raises(ValueError, match="65 entries"):
        messages.encode_header(entries)


def test_payload_counts_are_in_order_of_first_appearance():
    entries = [
        LogEntry(EntryKind.COMPLETED, 0, 3),
        LogEntry(EntryKind.STARTED, 1, 1),
        LogEntry(EntryKind.COMPLETED, 2, 2),
        LogEntry(EntryKind.COMPLETED, 3, 3),
    ]
    counts = messages.payload_counts(entries, lambda e: e.kind == EntryKind.COMPLETED)
    assert list(counts.items()) == [(3, 2), (2, 1)]


def test_record_carries_values_only_where_they_are_needed():
    values = np.dtype([("x", "f8"), ("s", "S12")])
    assert messages.record_dtype(None).itemsize == 16
    assert messages.record_dtype(values).itemsize == 16 + values.itemsize
