"""Evaluations of a running file in the order in which they complete, as they come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..log import EntryKind
from . import hdf5, schema
from .raw import RawRows, open_descriptor

_ENTRIES = 4096  # of the log, read at a time
#: Seconds that a row may lag behind the log on a file system of many machines.
LAG_SECONDS = 5.0


class Tail:
    """Follows the log of a results file that others are writing, and reads nothing twice.

    A run keeps its file: growing one is done before it starts.

    Parameters
    ----------
    path : Path
    start : int
        Entries of the log that belong to earlier runs.
    """

    def __init__(self, path: Path, start: int = 0):
        descriptor = open_descriptor(path, self)
        with hdf5.open_plain(path) as file:
            self._log = RawRows(descriptor, file["log"])
            self._rows = RawRows(descriptor, file["evaluations"])
        self._position = start
        self._waiting_since = 0.0

    def new(self) -> Iterator[tuple[int, np.void]]:
        """Index and row of each evaluation that has completed since the last call."""
        while len(entries := self._entries()):
            completed = entries["kind"] == EntryKind.COMPLETED
            rows = self._rows.take(entries["index"][completed])
            whole, place = schema.whole(rows), 0
            for entry, counts in zip(entries, completed.tolist(), strict=True):
                if counts:
                    if not whole[place] and not self._given_up():
                        return
                    self._waiting_since = 0.0
                self._position += 1
                if counts:
                    if whole[place]:
                        yield int(entry["index"]), rows[place]
                    place += 1

    @property
    def behind(self) -> bool:
        """Whether the log goes on behind what has been returned."""
        return len(self._entries()) > 0

    def _entries(self) -> np.ndarray:
        """The next entries of the log, as far as there are any."""
        entries = self._log.read(self._position, self._position + _ENTRIES)
        return entries[: schema.log_length(entries, len(self._rows))]

    def _given_up(self) -> bool:
        """Whether a row that the log calls completed has been waited for long enough."""
        now = time.monotonic()
        self._waiting_since = self._waiting_since or now
        return now - self._waiting_since > LAG_SECONDS
