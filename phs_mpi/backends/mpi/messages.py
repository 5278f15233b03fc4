"""What ranks say to each other: tags, layouts, encode and decode. No MPI call.

On the *schedule* communicator every message begins with four 64-bit integers, both ways:

=============  ===========  =========================  ==================================
direction      kind         other fields               meaning
=============  ===========  =========================  ==================================
worker to 0    READY                                   has loaded everything, wants work
worker to 0    PROPOSED     index                      values of a Bayesian set are fixed;
                                                       they follow in the same message
worker to 0    DONE         index, result              its row is committed; wants work
worker to 0    FATAL                                   cannot go on; a text follows (TEXT)
0 to worker    START        index, log length, chosen  evaluate this set; `chosen`: with the
                                                       values that the log has for it
0 to worker    WAIT                                    nothing now; START or STOP follows
0 to worker    STOP                                    nothing more
=============  ===========  =========================  ==================================

Where h5py has no MPI, the worker sends its row ahead of DONE under the tag ROW, and rank 0
commits it. On the *exchange* communicator rank 0 broadcasts headers, and rows after those
that say so (see :mod:`.exchange`).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from ...log import EntryKind, LogEntry

TAG_TO_MASTER = 1
TAG_TO_WORKER = 2
TAG_ROW = 3
TAG_TEXT = 4

READY, PROPOSED, DONE, FATAL = 1, 2, 3, 4
START, WAIT, STOP = 11, 12, 13

MESSAGE_WORDS = 4
WORD_BYTES = 8 * MESSAGE_WORDS

#: Entries one header can hold. The header is a broadcast of fixed size, since a receiver
#: has to post it before it knows what it will say; 2 KiB stays below the eager limit of the
#: usual transports.
HEADER_ENTRIES = 64
_ENTRY_WORDS = 4
_WORDS = 1 + _ENTRY_WORDS * HEADER_ENTRIES
_HAS_ROW = 1 << 8  # beside the kind of an entry
_END = -1


def message() -> np.ndarray:
    """An empty message buffer, int64 of shape (4,)."""
    return np.zeros(MESSAGE_WORDS, np.int64)


def result_to_word(result: float) -> int:
    """A float's bits as a signed 64-bit integer."""
    return int(struct.unpack("<q", struct.pack("<d", result))[0])


def word_to_result(word: int) -> float:
    """Inverse of :func:`result_to_word`."""
    return float(struct.unpack("<d", struct.pack("<q", word))[0])


def header() -> np.ndarray:
    """An empty header buffer, int64."""
    return np.zeros(_WORDS, np.int64)


def encode_header(entries: Sequence[LogEntry] | None) -> np.ndarray:
    """Header that announces `entries` in order; None ends the exchange."""
    buffer = header()
    if entries is None:
        buffer[0] = _END
        return buffer
    if len(entries) > HEADER_ENTRIES:
        raise ValueError(f"{len(entries)} entries in one header, at most {HEADER_ENTRIES}")
    buffer[0] = len(entries)
    flat: list[int] = []
    for entry in entries:
        kind = entry.kind if entry.row is None else entry.kind | _HAS_ROW
        flat += kind, entry.index, entry.worker, result_to_word(entry.result)
    buffer[1 : 1 + len(flat)] = flat
    return buffer


def decode_header(buffer: np.ndarray) -> tuple[list[LogEntry], int] | None:
    """Inverse of :func:`encode_header`.

    Returns
    -------
    tuple or None
        The entries, and how many of them have a row, which then follow (:func:`with_rows`
        puts them in); None at the end of the exchange.
    """
    count = int(buffer[0])
    if count == _END:
        return None
    words = buffer[1 : 1 + _ENTRY_WORDS * count].tolist()
    entries, rows = [], 0
    for k in range(0, len(words), _ENTRY_WORDS):
        kind, index, worker, result = words[k : k + _ENTRY_WORDS]
        awaits_row = bool(kind & _HAS_ROW)
        rows += awaits_row
        entries.append(
            LogEntry(
                EntryKind(kind & ~_HAS_ROW),
                index,
                worker,
                word_to_result(result),
                _AWAITED if awaits_row else None,
            )
        )
    return entries, rows


#: Stands in a decoded entry for the row that follows.
_AWAITED = object()


def encode_rows(entries: Sequence[LogEntry], dtype: np.dtype) -> np.ndarray:
    """Rows of those entries that have one, in order; structured array of `dtype`."""
    rows = [entry.row for entry in entries if entry.row is not None]
    packed = np.empty(len(rows), dtype)
    for k, row in enumerate(rows):
        packed[k] = row
    return packed


def with_rows(entries: Sequence[LogEntry], rows: np.ndarray) -> list[LogEntry]:
    """Decoded entries with the rows that followed them."""
    following = iter(rows)
    return [e._replace(row=next(following)) if e.row is _AWAITED else e for e in entries]


def to_master(row: np.dtype) -> np.ndarray:
    """A buffer for messages to rank 0, bytes: the words, then room for a packed row."""
    return np.zeros(WORD_BYTES + row.itemsize, np.uint8)


def row_in(buffer: np.ndarray, row: np.dtype) -> np.void:
    """The packed row in a message of PROPOSED, copied out of the buffer."""
    return buffer[WORD_BYTES:].copy().view(row)[0]
