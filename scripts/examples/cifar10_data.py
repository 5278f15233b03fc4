"""CIFAR-10 as it is published: where to get it, checking, unpacking, reading.

python scripts/examples/cifar10_data.py                                  where to get it
python scripts/examples/cifar10_data.py --unpack cifar-10-python.tar.gz  after the download
python scripts/examples/cifar10_data.py --check cifar-10-batches-py      count what is there
python scripts/examples/cifar10_data.py --generate FOLDER --images 3000  a stand-in, to try things

Both published versions are read: that for Python (pickled dictionaries) and the binary one (records
of 1 + 3072 bytes).
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from cifar10_shapes import SHAPES, shapes

from phs_mpi.errors import DefinitionError

PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
PROGRAM = "scripts/examples/cifar10_data.py"
BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
CHANNELS, SIDE, CLASSES = 3, 32, 10
PIXELS = CHANNELS * SIDE * SIDE


class DataError(DefinitionError):
    """The data are not there, or not what they should be."""


class Version(NamedTuple):
    """A published version of the data set.

    Attributes
    ----------
    archive, md5 : str
        Name of the archive, and its checksum as published.
    folder : str
        What it unpacks to.
    suffix : str
        Of its batches.
    names : str
        The file with the names of the classes.
    """

    archive: str
    md5: str
    folder: str
    suffix: str
    names: str

    @property
    def files(self) -> list[str]:
        """All batches, and the names of the classes."""
        return [*(batch + self.suffix for batch in BATCHES), self.names]


PYTHON = Version(
    "cifar-10-python.tar.gz",
    "c58f30108f718f92721af3b95e74349a",
    "cifar-10-batches-py",
    "",
    "batches.meta",
)
BINARY = Version(
    "cifar-10-binary.tar.gz",
    "c32a1d4ab5d03f1284b67883e8d87530",
    "cifar-10-batches-bin",
    ".bin",
    "batches.meta.txt",
)


class Images(NamedTuple):
    """Labelled images.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (n, 3, 32, 32)
        Red, green and blue; rows from the top.
    labels : ndarray of int64, shape (n,)
        0 to 9.
    """

    pixels: np.ndarray
    labels: np.ndarray


# -- reading --------------------------------------------------------------------------------


def located(folder: str | Path) -> tuple[Path, Version]:
    """Where the data are, and in which version.

    Parameters
    ----------
    folder : path
        That of the batches, or the one it was unpacked in.

    Raises
    ------
    DataError
        If there are none, or some of its files are missing. Nothing is read.
    """
    folder = Path(folder)
    for place in (folder, folder / PYTHON.folder, folder / BINARY.folder):
        for version in (PYTHON, BINARY):
            missing = [name for name in version.files if not (place / name).is_file()]
            if not missing:
                return place, version
            if len(missing) < len(version.files):
                raise DataError(
                    f"{place} lacks {', '.join(missing)}; unpack {version.archive} again"
                )
    raise DataError(
        f"there is no CIFAR-10 in {folder}; `python {PROGRAM}` says where to get it, and "
        f"`--generate {folder}` makes a stand-in"
    )


def read(folder: str | Path, test: bool = False) -> Images:
    """The training images, or those for the final test.

    Raises
    ------
    DataError
        If they are not there, or a file is damaged.
    """
    place, version = located(folder)
    names = BATCHES[-1:] if test else BATCHES[:-1]
    parts = [_batch(place / (name + version.suffix), version) for name in names]
    for name, part in zip(names, parts, strict=True):
        if len(part.labels) != len(parts[0].labels):
            raise DataError(
                f"{place / (name + version.suffix)} has {len(part.labels)} images, and "
                f"{names[0]} {len(parts[0].labels)}; unpack {version.archive} again"
            )
    return Images(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def class_names(folder: str | Path) -> list[str]:
    """What the labels 0 to 9 mean.

    Raises
    ------
    DataError
        If they are not there, or not ten.
    """
    place, version = located(folder)
    path = place / version.names
    if version is BINARY:
        names: Any = path.read_text(errors="replace").split()
    else:
        names = _field(_unpickled(path), "label_names")
    if not isinstance(names, list) or len(names) != CLASSES:
        raise DataError(f"{path} does not name {CLASSES} classes; unpack {version.archive} again")
    return [name.decode(errors="replace") if isinstance(name, bytes) else name for name in names]


def _batch(path: Path, version: Version) -> Images:
    if version is BINARY:
        raw = np.fromfile(path, np.uint8)
        if not raw.size or raw.size % (1 + PIXELS):
            raise DataError(
                f"{path} has {raw.size} bytes, no multiple of {1 + PIXELS}: it was cut off; "
                f"unpack {version.archive} again"
            )
        records = raw.reshape(-1, 1 + PIXELS)
        labels, pixels = records[:, 0], records[:, 1:]
    else:
        batch = _unpickled(path)
        data, numbers = _field(batch, "data"), _field(batch, "labels")
        if not isinstance(data, _Array) or not isinstance(numbers, list):
            raise DataError(f"{path} has no data and labels; unpack {version.archive} again")
        pixels = data.values
        if pixels.shape != (len(numbers), PIXELS) or not numbers:
            raise DataError(
                f"{path} has data of shape {pixels.shape} for {len(numbers)} labels, not "
                f"({len(numbers)}, {PIXELS}); unpack {version.archive} again"
            )
        labels = np.array([number if type(number) is int else -1 for number in numbers])
    if labels.min() < 0 or labels.max() >= CLASSES:
        raise DataError(
            f"{path} has labels other than 0 to {CLASSES - 1}: it is not CIFAR-10 (CIFAR-100, "
            f"perhaps); get {version.archive}"
        )
    return Images(pixels.reshape(-1, CHANNELS, SIDE, SIDE), labels.astype(np.int64))


def _field(batch: Any, name: str) -> Any:
    """Python 2 has written the published keys: they are bytes here."""
    return batch.get(name.encode(), batch.get(name)) if isinstance(batch, dict) else None


class _Array:
    """Stands in for an array of bytes that is being unpickled; takes what NumPy gives a pickle."""

    values: np.ndarray

    def __init__(self, *_):
        self.values = np.empty(0, np.uint8)

    def __setstate__(self, state):
        _, shape, dtype, by_columns, raw = state
        self._fill(raw, dtype, shape, "F" if by_columns else "C")

    def _fill(self, raw, dtype, shape, order):
        if dtype.name not in ("u1", b"u1", "|u1"):
            raise pickle.UnpicklingError(f"an array of {dtype.name!r} instead of bytes")
        self.values = np.frombuffer(raw, np.uint8).reshape(shape, order=order)

    @classmethod
    def from_buffer(cls, raw, dtype, shape, order):
        """Protocol 5."""
        array = cls()
        array._fill(raw, dtype, shape, order)
        return array


class _Dtype:
    def __init__(self, name, *_):
        self.name = name

    def __setstate__(self, state):
        pass


def _encoded(text, encoding):
    """How Python 3 writes bytes for Python 2."""
    return text.encode("latin1")


#: What bytes and arrays of bytes are made of in a pickle, as NumPy 1 and 2 name it.
_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.numeric", "_frombuffer"): _Array.from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _Array.from_buffer,
    ("_codecs", "encode"): _encoded,
}


class _Unpickler(pickle.Unpickler):
    # A pickle can name any function of any module and have it called: a file from the net could
    # run what it likes. This one gets stand-ins for what it needs, and nothing else.
    def find_class(self, module, name):
        """The stand-in of that name; anything else is refused."""
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _KNOWN[module, name]


def _unpickled(path: Path) -> Any:
    with open(path, "rb") as file:
        try:
            return _Unpickler(file, encoding="bytes").load()
        except Exception as error:  # a damaged pickle may raise nearly anything
            reason = str(error) or type(error).__name__
            raise DataError(
                f"{path} is damaged, or not of CIFAR-10 ({reason}); unpack {PYTHON.archive} again"
            ) from error


# -- unpacking ------------------------------------------------------------------------------


def unpack(
    archive: str | Path,
    into: str | Path = ".",
    published: Sequence[Version] = (PYTHON, BINARY),
) -> Path:
    """Check a downloaded archive and unpack it.

    Parameters
    ----------
    archive : path
    into : path
        The folder to put the one with the batches in.
    published : sequence of Version
        Archives that are known by their checksums.

    Returns
    -------
    Path
        The folder with the batches.

    Raises
    ------
    DataError
        If it is not the archive that was published, or the folder is there already.
    """
    archive, into = Path(archive), Path(into)
    if not archive.is_file():
        raise DataError(f"there is no file {archive}; download it from {PAGE}")
    with open(archive, "rb") as file:
        md5 = hashlib.md5(usedforsecurity=False)
        while block := file.read(1 << 20):
            md5.update(block)
    for version in published:
        if version.md5 == md5.hexdigest():
            return _extract(archive, version, into)
    raise DataError(
        f"{archive} has the MD5 {md5.hexdigest()}, as none of the published archives: the download "
        f"was cut off, or it is another file; get {PYTHON.archive} from {PAGE}"
    )


def _extract(archive: Path, version: Version, into: Path) -> Path:
    target = into / version.folder
    if target.exists():
        raise DataError(f"{target} is there already; remove it, or say --into another folder")
    into.mkdir(parents=True, exist_ok=True)
    # Only files that are known by name, so that nothing in an archive can lead elsewhere; and the
    # folder appears once it is complete.
    with tempfile.TemporaryDirectory(dir=into) as scratch, tarfile.open(archive) as tar:
        unpacked = Path(scratch) / version.folder
        unpacked.mkdir()
        for name in version.files:
            try:
                member = tar.extractfile(f"{version.folder}/{name}")
            except KeyError:
                member = None
            if member is None:
                raise DataError(f"{archive} has no {name}; get {version.archive} from {PAGE}")
            (unpacked / name).write_bytes(member.read())
        unpacked.rename(target)
    return target


# -- a stand-in -----------------------------------------------------------------------------


def generate(folder: str | Path, number: int = 3000, seed: int = 1) -> Path:
    """Write a generated set in the format of the version for Python.

    Parameters
    ----------
    folder : path
        Made, if it is not there.
    number : int
        Of training images, in five batches; of test images there is a fifth of it.
    seed : int

    Raises
    ------
    DataError
        If there are fewer than 50, or the folder has CIFAR-10 in it.
    """
    folder = Path(folder)
    if number < 50:
        raise DataError(f"{number} images are too few; give --images 50 or more")
    if any((folder / name).exists() for name in [*PYTHON.files, *BINARY.files]):
        raise DataError(f"{folder} has data already; name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    part = number // 5
    pixels, labels = shapes(6 * part, seed)
    for i, name in enumerate(BATCHES):
        these = slice(i * part, (i + 1) * part)
        batch = {
            b"batch_label": name.encode(),
            b"labels": labels[these].tolist(),
            b"data": pixels[these].reshape(part, PIXELS),
            b"filenames": [b"generated_%06d.png" % k for k in range(these.start, these.stop)],
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    names = {
        b"num_cases_per_batch": part,
        b"label_names": [name.encode() for name in SHAPES],
        b"num_vis": PIXELS,
    }
    (folder / PYTHON.names).write_bytes(pickle.dumps(names, protocol=2))
    return folder


# -- command line ---------------------------------------------------------------------------

ADVICE = f"""\
CIFAR-10 is on {PAGE}
("CIFAR-10 python version", 163 MB; the binary version will do as well):

    {PAGE.rsplit("/", 1)[0]}/{PYTHON.archive}   md5 {PYTHON.md5}
    {PAGE.rsplit("/", 1)[0]}/{BINARY.archive}   md5 {BINARY.md5}

Then:

    python {PROGRAM} --unpack {PYTHON.archive}
"""


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns its exit status."""
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(description=lines[0])
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--unpack", metavar="ARCHIVE", help="check a downloaded archive, unpack it")
    action.add_argument("--check", metavar="FOLDER", help="read the data and count them")
    action.add_argument("--generate", metavar="FOLDER", help="make a stand-in in the same format")
    parser.add_argument("--into", default=".", metavar="FOLDER", help="of --unpack: where to")
    parser.add_argument(
        "--images", type=int, default=3000, metavar="N", help="of --generate: for training"
    )
    options = parser.parse_args(arguments)
    try:
        if options.unpack:
            print(f"unpacked to {unpack(options.unpack, options.into)}")
        elif options.generate:
            print(f"generated in {generate(options.generate, options.images)}")
        elif options.check:
            _count(options.check)
        else:
            print(ADVICE, end="")
    except (DataError, OSError) as error:
        print(f"cifar10_data: {error}", file=sys.stderr)
        return 2
    return 0


def _count(folder: str) -> None:
    training, test = read(folder), read(folder, test=True)
    print(f"{len(training.labels)} images for training, {len(test.labels)} for the test")
    for label, name in enumerate(class_names(folder)):
        print(f"{name:12} {(training.labels == label).sum():6} {(test.labels == label).sum():6}")


if __name__ == "__main__":
    raise SystemExit(main())
