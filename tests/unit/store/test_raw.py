import os

import h5py
import numpy as np
import pytest

from phs_mpi.store import raw

ROWS = 5000
DTYPE = np.dtype([("number", "i8"), ("text", "S30")])


@pytest.fixture(params=[None, "gzip"])
def rows(tmp_path, request, monkeypatch):
    """Rows of which every third block of 500 was written, and the same as an array."""
    monkeypatch.setattr(raw, "_CHUNK_BYTES", 38 * 100)
    expected = np.zeros(ROWS, DTYPE)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        layout = {"compression": request.param} if request.param else {}
        dataset = file.create_dataset("d", ROWS, DTYPE, **layout)
        for start in range(500, ROWS, 1500):
            block = expected[start : start + 500]
            block["number"], block["text"] = np.arange(len(block)) + start, b"x"
            dataset[start : start + 500] = block
    owner = raw.RawRows.__new__(raw.RawRows)
    descriptor = raw.open_descriptor(tmp_path / "a.h5", owner)
    with h5py.File(tmp_path / "a.h5") as file:
        found = raw.RawRows(descriptor, file["d"])
    assert found.contiguous == (request.param is None)
    yield found, expected
    del owner
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_read(rows):
    found, expected = rows
    assert len(found) == ROWS
    assert (found.read() == expected).all()
    assert (found.read(490, 1010) == expected[490:1010]).all()
    assert len(found.read(4990, 9999)) == 10


def test_chunks(rows):
    found, expected = rows
    assert (np.concatenate([chunk for _, chunk in found.chunks()]) == expected).all()
    assert [start for start, _ in found.chunks()] == list(range(0, ROWS, 100))


@pytest.mark.parametrize("count", [0, 1, 7, 40, 3000])
def test_take(rows, count):
    found, expected = rows
    indices = np.random.default_rng([count]).integers(0, ROWS, count)
    assert (found.take(indices) == expected[indices]).all()


def test_take_out_of_range(rows):
    found, _ = rows
    for index in (-1, ROWS):
        with pytest.raises(IndexError):
            found.take([0, index])


def test_a_system_that_knows_no_holes(rows, monkeypatch):
    found, expected = rows
    monkeypatch.delattr(os, "SEEK_DATA")
    assert (found.read() == expected).all()


def test_a_file_that_is_cut_off_meanwhile(rows, tmp_path):
    found, _ = rows
    os.truncate(tmp_path / "a.h5", 3000)
    if found.contiguous:
        with pytest.raises(OSError, match="truncated"):
            found.read(1000, 1500)
