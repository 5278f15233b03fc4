"""What ranks say to each other: tags, layouts, encode and decode. No MPI call.

On the *schedule* communicator every message begins with four 64-bit integers, both ways:

=============  ===========  =========================  ==================================
direction      kind         other fields               meaning
=============  ===========  =========================  ==================================
worker to 0    READY                                   has loaded everything, wants work
worker to 0    PROPOSED     index                      values of a Bayesian set are fixed;
                                                       they follow in the same message
worker to 0    DONE         index, result, how         its row is committed; `how`: the
                                                       seconds it took, and whether it is
                                                       to be tried again (see
                                                       :func:`encode_done`)
worker to 0    BACK         number                     sets that it had ahead and does not
                                                       begin; they follow under INDICES
worker to 0    FATAL                                   cannot go on; a text follows (TEXT)
0 to worker    START        index, log length, how     evaluate this set; `how`: after those
                                                       that it has, which attempt, with the
                                                       values that the log has for it (see
                                                       :func:`encode_how`)
0 to worker    RECALL                                  give back what you have ahead
0 to worker    WAIT                                    nothing now; START or STOP follows
0 to worker    STOP                                    nothing more
=============  ===========  =========================  ==================================

Several START to one worker are one message. Where h5py has no MPI, the worker sends its row ahead
of DONE under the tag ROW, and rank 0 commits it. On the *exchange* communicator rank 0 broadcasts
headers, and payloads after those that have one (see :mod:`.exchange`).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...events import Start
from ...log import EntryKind, LogEntry

TAG_TO_MASTER = 1
TAG_TO_WORKER = 2
TAG_ROW = 3
TAG_TEXT = 4
TAG_INDICES = 5

READY, PROPOSED, DONE, BACK, FATAL = 1, 2, 3, 4, 5
START, WAIT, STOP, RECALL = 11, 12, 13, 14

#: Of START, in one message, at most.
MOST_STARTS = 16

MESSAGE_WORDS = 4
WORD_BYTES = 8 * MESSAGE_WORDS

#: One log entry on its way; the highest bit of the kind says that a row follows.
ENTRY_DTYPE = np.dtype([("kind", "u1"), ("worker", "u4"), ("index", "i8"), ("result", "f8")])
_HAS_ROW = 0x80

#: A header is a broadcast of fixed size, since a receiver has to post it before it knows what
#: it will say. Below 232 bytes Open MPI sends a message within its descriptor and has room for
#: some 8,000 to a rank that takes none; of longer ones for 500, then all ranks wait for that one.
LIGHT_BYTES = 232
HEADER_ENTRIES = 10
_HEADER_DTYPE = np.dtype(
    [("count", "i2"), ("rows", "i2"), ("entries", ENTRY_DTYPE, (HEADER_ENTRIES,))]
)
_END = -1

#: Entries that are announced at once, at most; those that the header has no room for follow it.
BATCH_ENTRIES = 512


def to_worker() -> np.ndarray:
    """A buffer for messages to a worker, int64 of shape (most, 4)."""
    return np.zeros((MOST_STARTS, MESSAGE_WORDS), np.int64)


def result_to_word(result: float) -> int:
    """A float's bits as a signed 64-bit integer."""
    return int(struct.unpack("<q", struct.pack("<d", result))[0])


def word_to_result(word: int) -> float:
    """Inverse of :func:`result_to_word`."""
    return float(struct.unpack("<d", struct.pack("<q", word))[0])


class Header(NamedTuple):
    """What a header says.

    Attributes
    ----------
    entries : ndarray of ENTRY_DTYPE
        The first of them.
    more : int
        How many entries follow in the payload.
    rows : int
        How many packed rows follow those.
    """

    entries: np.ndarray
    more: int
    rows: int


def encode_how(start: Start) -> int:
    """The last word of START, from the fields of the schedule's instruction."""
    return start.chosen | start.known << 1 | start.ahead << 2 | start.attempt << 3


class How(NamedTuple):
    """What the last word of START says; see :class:`phs_mpi.events.Start`."""

    chosen: bool
    known: bool
    ahead: bool
    attempt: int


def decode_how(word: int) -> How:
    """Inverse of :func:`encode_how`."""
    return How(bool(word & 1), bool(word & 2), bool(word & 4), word >> 3)


def encode_done(again: bool, seconds: float) -> int:
    """The last word of DONE."""
    return again | round(seconds * 1e6) << 1


def decode_done(word: int) -> tuple[bool, float]:
    """Inverse of :func:`encode_done`."""
    return bool(word & 1), (word >> 1) / 1e6


def header() -> np.ndarray:
    """An empty header buffer, bytes."""
    return np.zeros(_HEADER_DTYPE.itemsize, np.uint8)


def encode(entries: Sequence[LogEntry] | None, row: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Announce `entries` in order; None ends the exchange.

    Parameters
    ----------
    entries : sequence of LogEntry or None
        At most ``BATCH_ENTRIES``.
    row : numpy.dtype
        Packed values of a parameter set.

    Returns
    -------
    header, payload : ndarray of uint8
        The payload is empty where the header says it all.
    """
    buffer = header()
    head = buffer.view(_HEADER_DTYPE)[0]
    if entries is None:
        head["count"] = _END
        return buffer, np.empty(0, np.uint8)
    if len(entries) > BATCH_ENTRIES:
        raise ValueError(f"{len(entries)} entries at once, at most {BATCH_ENTRIES}")
    coded = np.zeros(len(entries), ENTRY_DTYPE)
    for k, entry in enumerate(entries):
        kind = entry.kind if entry.row is None else entry.kind | _HAS_ROW
        coded[k] = kind, entry.worker, entry.index, entry.result
    rows = b"".join(bytes(entry.row.tobytes()) for entry in entries if entry.row is not None)
    head["count"], head["rows"] = len(entries), len(rows) // row.itemsize
    head["entries"][: len(entries)] = coded[:HEADER_ENTRIES]
    payload = coded[HEADER_ENTRIES:].tobytes() + rows
    return buffer, np.frombuffer(payload, np.uint8).copy()


def decode_header(buffer: np.ndarray) -> Header | None:
    """What a header says; None at the end of the exchange."""
    head = buffer.view(_HEADER_DTYPE)[0]
    count = int(head["count"])
    if count == _END:
        return None
    entries = head["entries"][:count].copy()
    return Header(entries, count - len(entries), int(head["rows"]))


def payload_for(head: Header, row: np.dtype) -> np.ndarray:
    """A buffer for the payload that follows a header, bytes; empty if there is none."""
    return np.empty(head.more * ENTRY_DTYPE.itemsize + head.rows * row.itemsize, np.uint8)


def decode(head: Header, payload: np.ndarray, row: np.dtype) -> list[LogEntry]:
    """The entries that a header and its payload announce."""
    cut = head.more * ENTRY_DTYPE.itemsize
    more, rows = payload[:cut].view(ENTRY_DTYPE), iter(payload[cut:].view(row))
    entries = []
    for kind, worker, index, result in (*head.entries.tolist(), *more.tolist()):
        packed = next(rows) if kind & _HAS_ROW else None
        entries.append(LogEntry(EntryKind(kind & ~_HAS_ROW), index, worker, result, packed))
    return entries


def to_master(row: np.dtype) -> np.ndarray:
    """A buffer for messages to rank 0, bytes: the words, then room for a packed row."""
    return np.zeros(WORD_BYTES + row.itemsize, np.uint8)


def row_in(buffer: np.ndarray, row: np.dtype) -> np.void:
    """The packed row in a message of PROPOSED, copied out of the buffer."""
    return buffer[WORD_BYTES:].copy().view(row)[0]
