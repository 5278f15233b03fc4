import errno
import types

import h5py
import numpy as np
import pytest
from results import make_experiment, resume

from phs_mpi.log import Source, Status
from phs_mpi.store import hdf5


def test_typed_names_enumerations_only_in_the_row_itself():
    row = np.dtype(
        [("values", [("status", "u1"), ("text", "S7")]), ("source", "u1"), ("status", "u1")]
    )
    typed = hdf5.typed(row)
    assert typed == row  # the same layout
    assert h5py.check_enum_dtype(typed["status"]) == {s.name: int(s) for s in Status}
    assert h5py.check_enum_dtype(typed["source"]) == {s.name: int(s) for s in Source}
    assert h5py.check_enum_dtype(typed["values"]["status"]) is None
    assert h5py.check_string_dtype(typed["values"]["text"]) == ("utf-8", 7)


def test_typed_keeps_gaps_and_inner_arrays():
    row = np.dtype({"names": ["a", "b"], "formats": ["i1", "(2,)S3"], "offsets": [0, 8]})
    assert hdf5.typed(row) == row


def test_rows_of_another_type_do_not_fit(tmp_path):
    resume(tmp_path / "a.h5", make_experiment())
    file = hdf5.open_low_level(tmp_path / "a.h5")
    assert not hdf5.Rows(file, "errors", np.dtype("S10")).fits
    assert hdf5.Rows(file, "errors", np.dtype("S2000")).fits
    hdf5.close(file)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "x"), "cannot write it: No space left on device; make room on"),
        (OSError(errno.EDQUOT, "x"), "within your quota"),
        (OSError("Can't write (file write failed: errno = 27, error)"), "File too large; raise"),
        (OSError("Can't write data (file write failed)"), "write it: file write failed; mend"),
        (OSError(errno.EIO, "x"), "Input/output error; mend the disk or file system, then start"),
    ],
)
def test_write_errors_name_cause_and_remedy(tmp_path, error, words):
    assert words in str(hdf5.write_error(tmp_path / "a.h5", "it", error))


def test_where_mpi_loses_the_cause_a_full_disk_is_still_found(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=4096))
    error = hdf5.write_error(tmp_path / "a.h5", "it", OSError("Can't write data (file failed)"))
    assert "No space left on device; make room" in str(error)
