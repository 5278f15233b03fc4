import errno
import resource

import h5py
import numpy as np
import pytest
from results import make_experiment, resume

from phs_mpi.log import Source, Status
from phs_mpi.store import hdf5
from phs_mpi.store.schema import LOG_DTYPE


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


def test_where_mpi_hides_the_cause_the_system_is_asked_for_it(tmp_path):
    path = tmp_path / "a.h5"
    resume(path, make_experiment())
    file = hdf5.open_low_level(path)
    rows = hdf5.Rows(file, "log", LOG_DTYPE)
    assert rows.length > 2
    entries = np.zeros(2, LOG_DTYPE)
    entries["index"] = 7
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size // 4, hard))
    try:
        reason = rows.why_not(path, 1, entries)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert reason.errno == errno.EFBIG
    assert rows.why_not(path, 1, entries) is None
    rows.close()
    hdf5.close(file)
    with h5py.File(path) as file:  # the very same place
        assert file["log"]["index"][:4].tolist() == [0, 7, 7, 0]


def test_a_silenced_file_is_closed_where_it_could_not_be_written(tmp_path):
    path = tmp_path / "a.h5"
    resume(path, make_experiment())
    file = hdf5.open_low_level(path)
    before = path.read_bytes()
    rows = hdf5.Rows(file, "log", LOG_DTYPE)
    hdf5.silence(file)
    rows.write(0, np.ones(1, LOG_DTYPE))
    rows.close()
    hdf5.close(file)
    assert path.read_bytes() == before
