"""Rows of a dataset straight from their bytes in the file: quick, and safe while others write.

HDF5 would convert a row field by field, which takes seconds for a million rows. A memory map
would be quicker still, but a process dies if the disk fills up or a server goes away.
"""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

_CHUNK_BYTES = 1 << 22
_SINGLY = 8  # up to so many wanted rows of a chunk are read one by one


class RawRows:
    """Rows of one dataset, read when asked for.

    Parameters
    ----------
    descriptor : int
        Of the file, for reading; must stay open.
    dataset : h5py.Dataset
        One dimension. Contiguous, or else (another tool rewrote the file) it is read now.

    Attributes
    ----------
    dtype : numpy.dtype
    contiguous : bool
    offset : int or None
        Of the first row in the file; None if it is not contiguous.
    """

    def __init__(self, descriptor: int, dataset: Any):
        self.dtype = dataset.dtype
        if self.dtype.hasobject:
            raise ValueError("rows of objects are no rows of ours")
        self._length = dataset.shape[0]
        self._descriptor = descriptor
        self.offset = dataset.id.get_offset()
        self.contiguous = self.offset is not None
        self._array = None if self.contiguous else dataset[()]
        self._chunk = max(1, _CHUNK_BYTES // self.dtype.itemsize)

    def __len__(self) -> int:
        return self._length

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows `start` to `stop`."""
        stop = self._length if stop is None else min(stop, self._length)
        if self._array is not None:
            return self._array[start:stop].copy()
        size = self.dtype.itemsize
        buffer = np.zeros((stop - start) * size, np.uint8)
        begin = self.offset + start * size
        if os.fstat(self._descriptor).st_size < begin + len(buffer):
            raise OSError(errno.EIO, "truncated file")
        # Whoever only made room for rows left a hole; reading it would cost as much as data.
        for low, high in _data(self._descriptor, begin, begin + len(buffer)):
            _read_into(self._descriptor, buffer[low - begin : high - begin], low)
        return buffer.view(self.dtype)

    def chunks(self) -> Iterator[tuple[int, np.ndarray]]:
        """All rows in pieces of a few megabytes, each with the index of its first."""
        for start in range(0, self._length, self._chunk):
            yield start, self.read(start, start + self._chunk)

    def take(self, indices: Any) -> np.ndarray:
        """Rows of these indices, in their order."""
        indices = np.asarray(indices, int)
        rows = np.zeros(len(indices), self.dtype)
        order = np.argsort(indices, kind="stable")
        wanted = indices[order]
        if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < self._length:
            raise IndexError(f"rows {wanted[0]} to {wanted[-1]} of {self._length}")
        edges = np.searchsorted(wanted, np.arange(0, self._length + self._chunk, self._chunk))
        for number in np.flatnonzero(np.diff(edges)).tolist():
            here = slice(edges[number], edges[number + 1])
            if edges[number + 1] - edges[number] <= _SINGLY:
                for place, index in zip(order[here].tolist(), wanted[here].tolist(), strict=True):
                    rows[place] = self.read(index, index + 1)[0]
            else:
                first, last = wanted[here][0], wanted[here][-1]
                rows[order[here]] = self.read(first, last + 1)[wanted[here] - first]
        return rows


def open_descriptor(path: Any, owner: Any) -> int:
    """Open a file for reading until `owner` is no longer used."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    weakref.finalize(owner, os.close, descriptor)
    return descriptor


def _data(descriptor: int, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Parts of a range of the file that are no holes."""
    position = begin
    while position < end:
        try:
            low = os.lseek(descriptor, position, os.SEEK_DATA)
            high = os.lseek(descriptor, low, os.SEEK_HOLE)
        except (OSError, AttributeError) as error:
            if getattr(error, "errno", None) == errno.ENXIO:  # a hole to the end
                return
            low, high = position, end  # a system that knows no holes
        if low >= end:
            return
        yield low, min(high, end)
        position = high


def _read_into(descriptor: int, buffer: np.ndarray, offset: int) -> None:
    while len(buffer):
        count = os.preadv(descriptor, [buffer.data], offset)
        if count == 0:
            raise OSError(errno.EIO, "truncated file")
        buffer, offset = buffer[count:], offset + count
