"""A new results file: complete, with all its rows empty, before anybody opens it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sys
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import StoreError
from ..limits import in_bytes
from . import hdf5, schema

_PACKAGES = ("numpy", "scipy", "scikit-learn", "h5py", "mpi4py")
_METADATA_BYTES = 1 << 16
_MOST_RESERVED = 1 << 26  # beyond, some network file systems take long over it
_ATTRIBUTE_BYTES = 8000  # HDF5 keeps all attributes of an object within 64 kB

_DESCRIPTIONS = {
    "parameter_sets": "One row a parameter set: its group in /definition, and its values as "
    "defined; values that the search proposes are zero here, see /evaluations.",
    "evaluations": "One row a parameter set, or with repeats as many as a set may have, one after "
    "the other: values used, result, timings. It counts if its "
    "status is DONE, FAILED or TIMED_OUT, and its checksum is the CRC-32 of all other bytes of "
    "the row. start and end are seconds since 1970-01-01 UTC; proposing, waiting and exchanging "
    "are seconds.",
    "errors": "End of the traceback of a failed evaluation; other rows are empty.",
    "log": "Order in which evaluations started, completed or were lost; unused rows are zero.",
    "definition": "The experiment as JSON.",
    "source/experiment.py": "Text of the file that defines the experiment.",
}


def create(
    path: Path,
    table: Any,
    definition: Mapping[str, Any],
    source: str,
    provenance: Mapping[str, Any],
) -> None:
    """Create the results file of an experiment, all evaluations empty.

    It is made under a temporary name and then renamed, so that a file of this name is always
    complete.

    Parameters
    ----------
    path : path
        The file; must not exist.
    table : Table
        The parameter sets.
    definition : mapping
        ``Experiment.describe()``.
    source : str
        Text of experiment.py.
    provenance : mapping of str to str
        What the caller knows about this run: command line, MPI library, …

    Raises
    ------
    StoreError
        If the folder cannot be written or has too little space.
    """
    path = Path(path)
    if path.exists():
        raise StoreError(f"{path} exists already", value=str(path))
    with new_file(path, required_bytes(table, definition), table) as file:
        fill(file, table, definition, source, provenance)


def fill(
    file: Any,
    table: Any,
    definition: Mapping[str, Any],
    source: str,
    provenance: Mapping[str, Any],
    log_length: int = 0,
) -> None:
    """Give a new HDF5 file its attributes and datasets.

    The log gets room beyond the `log_length` entries that it has already.
    """
    for name, value in attributes(definition, provenance).items():
        file.attrs[name] = value
    sets, evaluations = len(table), table.evaluations
    metrics = definition.get("metrics") or ()
    rows = {
        "parameter_sets": (sets, schema.parameter_set_dtype(table.dtype)),
        "evaluations": (evaluations, schema.evaluation_dtype(table.dtype, metrics)),
        "errors": (evaluations, schema.TRACEBACK_DTYPE),
        "log": (log_length + schema.log_capacity(evaluations), schema.LOG_DTYPE),
    }
    for name, (length, dtype) in rows.items():
        reserve_rows(file, name, length, dtype)
    stored = np.zeros(sets, rows["parameter_sets"][1])
    stored["group"] = table.group_of
    stored["values"] = table.values
    write_rows(file["parameter_sets"], 0, stored)
    file["parameter_sets"].attrs[schema.CHECKSUM] = np.uint32(zlib.crc32(stored.data))
    _text(file, "definition", json.dumps(definition, indent=1, ensure_ascii=False))
    _text(file, "source/experiment.py", source)
    for name, description in _DESCRIPTIONS.items():
        file[name].attrs["description"] = description


def write_rows(dataset: Any, start: int, rows: np.ndarray) -> None:
    """Write consecutive rows whose layout is that of the dataset."""
    h5py = hdf5.load()
    if not len(rows):
        return
    space = dataset.id.get_space()
    space.select_hyperslab((start,), (len(rows),))
    memory = h5py.h5s.create_simple((len(rows),))
    dataset.id.write(memory, space, np.ascontiguousarray(rows), dataset.id.get_type())


@contextlib.contextmanager
def new_file(path: Path, size: int, table: Any) -> Iterator[Any]:
    """Inside, an HDF5 file under a temporary name; afterwards it stands at `path`.

    Raises
    ------
    StoreError
        If that is not possible; then nothing is left behind.
    """
    target = Path(os.path.realpath(path))
    check_folder(path, size)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.new")
    h5py = hdf5.load()
    try:
        _reserve_space(temporary, size)
        try:
            # HDF5's own bytes all in front: whatever end a file has lost, its rows can be found.
            with h5py.File(
                temporary, "w", libver=hdf5.LIBVER, meta_block_size=_METADATA_BYTES
            ) as file:
                yield file
        except ValueError as error:
            if "header message is too large" not in str(error):
                raise
            raise StoreError(
                f"{path}: {len(table.dtype.names)} parameters are too many for HDF5, which "
                "describes a row in at most 64 kB",
                remedy="join parameters, for example in a categorical one",
            ) from error
        if target.exists():
            shutil.copymode(target, temporary)
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, target)
    except OSError as error:
        raise hdf5.write_error(path, "the new file", error) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _reserve_space(path: Path, size: int) -> None:
    """Find out whether a file of this size fits, quotas included; nothing stays reserved.

    HDF5 notices a full disk late, as it closes the file, and then may crash.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        os.posix_fallocate(descriptor, 0, min(size, _MOST_RESERVED))
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)
        os.unlink(path)


def check_folder(path: Path, size: int) -> None:
    """Refuse a folder that is not there, cannot be written, or has less than `size` bytes."""
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        from .lock import missing_folder

        raise missing_folder(path)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(
            f"{path}: cannot write in the folder {folder}",
            value=str(path),
            remedy="change its permissions, or name a file in another folder with --output",
        )
    free = shutil.disk_usage(folder).free
    if free < size:
        raise StoreError(
            f"{path}: the results need about {in_bytes(size)}, and {folder} has "
            f"{in_bytes(free)} of free space left",
            value=str(path),
            remedy="make room, or name a file on another disk with --output",
        )


def required_bytes(table: Any, definition: Mapping[str, Any]) -> int:
    """Size of the finished file, tracebacks aside; an empty one takes much less."""
    row = schema.evaluation_dtype(table.dtype, definition.get("metrics") or ()).itemsize
    size = len(table) * schema.parameter_set_dtype(table.dtype).itemsize
    size += table.evaluations * row
    size += schema.log_capacity(table.evaluations) * schema.LOG_DTYPE.itemsize
    return _METADATA_BYTES + size


def attributes(definition: Mapping[str, Any], provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Root attributes: what else one has to know to repeat the run."""
    from .. import __version__

    h5py = hdf5.load()
    found = {
        "format_version": schema.FORMAT_VERSION if "repeats" in definition else 1,
        "phs_mpi": __version__,
        "python": sys.version.split()[0],
        "hdf5": h5py.version.hdf5_version,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seed": definition.get("seed", 0),
        "target": str(definition.get("target", "")),
    }
    found |= versions(_PACKAGES)
    found |= {name: str(value) for name, value in provenance.items()}
    for name, value in found.items():
        if isinstance(value, int) and value.bit_length() > 63:  # a seed may be that large
            found[name] = str(value)
        elif isinstance(value, str):
            found[name] = schema.text_head(value, _ATTRIBUTE_BYTES).decode()
    return found


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of those of these packages that are installed.

    The names of folders beside a package say which it is [1]_. ``importlib.metadata`` reads it from
    a file in there, with the library for e-mail: 17 ms, in which all ranks wait for this one. It is
    asked for what is not found.

    References
    ----------
    .. [1] Recording installed projects, packaging.python.org/specifications.
    """
    beside: dict[str, str] = {}
    for folder in sys.path:
        with contextlib.suppress(OSError):
            for name in os.listdir(folder or "."):
                if name.endswith(".dist-info"):
                    package, _, version = name.removesuffix(".dist-info").partition("-")
                    beside.setdefault(package.replace("_", "-").lower(), version)
    found = {}
    for package in packages:
        if package in beside:
            found[package] = beside[package]
            continue
        from importlib import metadata

        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def reserve_rows(file: Any, name: str, length: int, dtype: np.dtype) -> None:
    """A contiguous dataset whose bytes have their place in the file, all zero (a hole)."""
    h5py = hdf5.load()
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)
    file_type = h5py.h5t.py_create(hdf5.typed(dtype), logical=True)
    space = h5py.h5s.create_simple((length,))
    h5py.h5d.create(file.id, name.encode(), file_type, space, properties)


def _text(file: Any, name: str, written: str) -> None:
    raw = written.replace("\0", "").encode("utf-8", "backslashreplace")
    dtype = hdf5.load().string_dtype("utf-8", max(1, len(raw)))
    text = file.create_dataset(name, data=np.bytes_(raw), dtype=dtype)
    text.attrs[schema.CHECKSUM] = np.uint32(zlib.crc32(raw))
