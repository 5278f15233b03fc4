"""What ranks say to each other: tags, layouts, encode and decode. No MPI call.

On the *schedule* communicator every message is four 64-bit integers, both ways:

=============  ===========  =========================  ==================================
direction      kind         other fields               meaning
=============  ===========  =========================  ==================================
worker to 0    READY                                   has loaded everything, wants work
worker to 0    PROPOSED     index                      values of a Bayesian set are fixed
worker to 0    DONE         index, result              its row is committed; wants work
worker to 0    FATAL                                   cannot go on; a text follows (TEXT)
0 to worker    START        index, log length, chosen  evaluate this set; `chosen`: with the
                                                       values that the log has for it
0 to worker    WAIT                                    nothing now; START or STOP follows
0 to worker    STOP                                    nothing more
=============  ===========  =========================  ==================================

Where h5py has no MPI, the worker sends its row ahead of DONE under the tag ROW, and rank 0
commits it. On the *exchange* communicator there are only broadcasts: a header by rank 0,
then one payload by each worker that the header names (see :mod:`.exchange`).
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

#: Entries one header can hold. The header is a broadcast of fixed size, since a receiver
#: has to post it before it knows what it will say; 1.5 KiB stays below the eager limit
#: of the usual transports.
HEADER_ENTRIES = 64
_WORDS = 1 + 3 * HEADER_ENTRIES
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
    if entries:
        flat = [word for e in entries for word in (e.kind, e.index, e.worker)]
        buffer[1 : 1 + len(flat)] = flat
    return buffer


def decode_header(buffer: np.ndarray) -> list[LogEntry] | None:
    """Inverse of :func:`encode_header`; the entries have neither result nor row yet."""
    count = int(buffer[0])
    if count == _END:
        return None
    words = buffer[1 : 1 + 3 * count].tolist()
    return [
        LogEntry(EntryKind(words[k]), words[k + 1], words[k + 2]) for k in range(0, 3 * count, 3)
    ]


def record_dtype(values: np.dtype | None) -> np.dtype:
    """Layout of one outcome or announced proposal in a payload.

    Parameters
    ----------
    values : numpy.dtype or None
        ``table.dtype``; None where no set is Bayesian and the table says it all.
    """
    fields: list = [("index", np.int64), ("result", np.float64)]
    if values is not None:
        fields.append(("row", values))
    return np.dtype(fields)


def payload_counts(entries: Sequence[LogEntry], needs_payload) -> dict[int, int]:
    """How many records each worker has to broadcast for these entries.

    Parameters
    ----------
    entries : sequence of LogEntry
        A decoded header.
    needs_payload : callable
        ``needs_payload(entry) -> bool``.

    Returns
    -------
    dict of int to int
        Worker to number of records, in order of first appearance: the order in which all
        ranks post the broadcasts.
    """
    counts: dict[int, int] = {}
    for entry in entries:
        if needs_payload(entry):
            counts[entry.worker] = counts.get(entry.worker, 0) + 1
    return counts
