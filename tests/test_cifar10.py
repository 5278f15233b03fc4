"""The CIFAR-10 example: its reader of the published formats, and a whole search."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import io
import os
import pickle
import struct
import sys
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from phs_mpi.log import Source, Status

EXAMPLES = Path(__file__).resolve().parent.parent / "scripts" / "examples"
DATA = EXAMPLES / "cifar10_data.py"


@pytest.fixture
def cifar(monkeypatch):
    """The module of the reader."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("cifar10_data")


@pytest.fixture
def folder(cifar, tmp_path):
    """A generated set of 6 x 20 images."""
    return cifar.generate(tmp_path / "cifar-10-batches-py", 100)


def some(number=7, seed=0):
    """Random pixels and labels, as two arrays."""
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.arange(number) % 10)
    return draw.integers(0, 256, (number, 3072), dtype=np.uint8), labels


def by_python_2(pixels: np.ndarray, labels: np.ndarray) -> bytes:
    """A batch as cPickle of Python 2 has written the published ones, opcode by opcode."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    def integer(value: int) -> bytes:
        return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)

    raw = pixels.tobytes()
    numbers = b"".join(integer(int(label)) for label in labels)
    names = b"".join(text(b"%06d.png" % i) for i in range(len(labels)))
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n"
        + (b"cnumpy\nndarray\n" + integer(0) + b"\x85" + text(b"b") + b"\x87R")
        + (b"(" + integer(1) + b"".join(map(integer, pixels.shape)) + b"\x86")
        + (b"cnumpy\ndtype\n" + text(b"u1") + integer(0) + integer(1) + b"\x87R")
        + (b"(" + integer(3) + text(b"|") + b"NNN" + 2 * b"J\xff\xff\xff\xff" + integer(0) + b"tb")
        + (b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb")
    )
    return (
        b"\x80\x02}("
        + (text(b"batch_label") + text(b"training batch 1 of 5"))
        + (text(b"labels") + b"](" + numbers + b"e")
        + (text(b"data") + array)
        + (text(b"filenames") + b"](" + names + b"e")
        + b"u."
    )


def as_numpy_1(raw: bytes) -> bytes:
    assert b"cnumpy._core.multiarray\n" in raw or np.__version__ < "2"
    return raw.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def batch(pixels, labels):
    return {b"data": pixels, b"labels": labels.tolist(), b"batch_label": b"x"}


def coloured(number: int, seed: int):
    """Images that are easily told apart, by their colour; pixels and labels."""
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.arange(number) % 10)
    corners = [[k % 2, k // 2 % 2, k // 4] for k in range(8)]
    colours = np.array([*corners, [0.5, 0.5, 0.5], [0.5, 0, 0.5]])
    pixels = 40 + 175 * colours[labels][..., None] + draw.normal(0, 20, (number, 3, 1024))
    return pixels.clip(0, 255).astype(np.uint8).reshape(number, 3072), labels


WRITERS = {
    "Python 2": by_python_2,
    **{
        f"protocol {protocol}": lambda pixels, labels, protocol=protocol: pickle.dumps(
            batch(pixels, labels), protocol
        )
        for protocol in (2, 3, 4, 5)
    },
    "NumPy 1": lambda pixels, labels: as_numpy_1(pickle.dumps(batch(pixels, labels), 2)),
    "by columns": lambda pixels, labels: pickle.dumps(batch(np.asfortranarray(pixels), labels), 2),
    "by columns, protocol 5": lambda pixels, labels: pickle.dumps(
        batch(np.asfortranarray(pixels), labels), 5
    ),
    "keys of text": lambda pixels, labels: pickle.dumps(
        {"data": pixels, "labels": labels.tolist()}, 4
    ),
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.filterwarnings("error")
def test_pickled_batches_are_read_whoever_wrote_them(cifar, folder, writer):
    parts = [some(seed=seed) for seed in range(6)]
    for name, part in zip(cifar.BATCHES, parts, strict=True):
        (folder / name).write_bytes(WRITERS[writer](*part))
    training, test = cifar.read(folder), cifar.read(folder, test=True)
    np.testing.assert_array_equal(
        training.pixels.reshape(35, 3072), np.concatenate([pixels for pixels, _ in parts[:5]])
    )
    np.testing.assert_array_equal(training.labels, np.concatenate([part[1] for part in parts[:5]]))
    np.testing.assert_array_equal(test.pixels.reshape(7, 3072), parts[5][0])
    assert training.pixels.shape == (35, 3, 32, 32)
    assert training.pixels.dtype == np.uint8
    assert training.labels.dtype == np.int64


def test_the_hand_written_batch_of_python_2_is_one(cifar):
    pixels, labels = some()
    read = pickle.loads(by_python_2(pixels, labels), encoding="latin1")
    np.testing.assert_array_equal(read["data"], pixels)
    assert read["labels"] == labels.tolist()


def test_the_binary_version_is_read(cifar, tmp_path):
    parts = [some(seed=seed) for seed in range(6)]
    for name, (pixels, labels) in zip(cifar.BATCHES, parts, strict=True):
        records = np.concatenate([labels[:, None].astype(np.uint8), pixels], axis=1)
        records.tofile(tmp_path / f"{name}.bin")
    (tmp_path / "batches.meta.txt").write_text("\n".join("abcdefghij") + "\n\n")
    training = cifar.read(tmp_path)
    np.testing.assert_array_equal(
        training.pixels.reshape(35, 3072), np.concatenate([pixels for pixels, _ in parts[:5]])
    )
    np.testing.assert_array_equal(training.labels, np.concatenate([part[1] for part in parts[:5]]))
    assert cifar.class_names(tmp_path) == list("abcdefghij")
    file = tmp_path / "data_batch_3.bin"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(cifar.DataError, match=r"data_batch_3\.bin has 21510 bytes.*cut off"):
        cifar.read(tmp_path)
    file.write_bytes(file.read_bytes()[:3073])
    with pytest.raises(cifar.DataError, match=r"data_batch_3\.bin has 1 images, and data_batch_1"):
        cifar.read(tmp_path)
    file.write_bytes(b"")
    with pytest.raises(cifar.DataError, match="has 0 bytes"):
        cifar.read(tmp_path)


class Calls:
    """Pickled, it has the reader call a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("function", "arguments", "asked"),
    [
        (os.system, ["touch made"], "system"),
        (exec, ["open('made', 'w')"], "exec"),
        (open, ["made", "w"], "open"),
        (np.save, ["made", 1], "numpy.save"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_file_cannot_have_anything_called(
    cifar, folder, monkeypatch, function, arguments, asked, protocol
):
    monkeypatch.chdir(folder)
    pixels, labels = some(20)
    harmful = batch(pixels, labels) | {b"filenames": Calls(function, *arguments)}
    raw = pickle.dumps(harmful, protocol)
    (folder / "data_batch_2").write_bytes(raw)
    with pytest.raises(cifar.DataError, match=rf"data_batch_2 is damaged.*it asks for .*{asked}"):
        cifar.read(folder)
    assert not list(folder.glob("made*"))
    pickle.loads(raw)  # it would have been
    assert list(folder.glob("made*"))


def test_a_file_cut_off_anywhere_is_refused(cifar, folder):
    for raw in (by_python_2(*some(20)), (folder / "data_batch_1").read_bytes()):
        for length in np.linspace(0, len(raw) - 1, 60).astype(int):
            (folder / "data_batch_1").write_bytes(raw[:length])
            with pytest.raises(cifar.DataError, match=r"unpack cifar-10-python\.tar\.gz again"):
                cifar.read(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({b"data": some()[0][:, 1:], b"labels": [1] * 7}, r"shape \(7, 3071\) for 7 labels"),
        ({b"data": some()[0], b"labels": [1] * 6}, r"shape \(7, 3072\) for 6 labels"),
        ({b"data": some()[0][:0], b"labels": []}, "for 0 labels"),
        (
            {b"data": some()[0].astype(float), b"labels": [1] * 7},
            "an array of .*f8.* instead of bytes",
        ),
        ({b"data": some()[0].tolist(), b"labels": [1] * 7}, "no data and labels"),
        ({b"data": some()[0], b"fine_labels": [1] * 7}, "no data and labels"),
        ({b"data": some()[0], b"labels": [99] * 7}, "labels other than 0 to 9"),
        ({b"data": some()[0], b"labels": [-1] * 7}, "labels other than 0 to 9"),
        ({b"data": some()[0], b"labels": [b"cat"] * 7}, "labels other than 0 to 9"),
        ({b"data": some()[0], b"labels": [2**70] * 7}, "labels other than 0 to 9"),
        ({b"data": some()[0], b"labels": [[1], [1, 2]] + [1] * 5}, "labels other than 0 to 9"),
        ([1, 2], "no data and labels"),
    ],
)
def test_what_is_no_batch_is_refused_in_one_line(cifar, folder, content, message):
    (folder / "data_batch_1").write_bytes(pickle.dumps(content, 4))
    with pytest.raises(cifar.DataError, match=rf"data_batch_1 .*{message}") as caught:
        cifar.read(folder)
    assert "\n" not in str(caught.value)


def test_what_is_not_there_is_named_with_the_remedy(cifar, folder, tmp_path):
    with pytest.raises(cifar.DataError, match=r"no CIFAR-10 in .*nowhere; .*cifar10_data\.py"):
        cifar.read(tmp_path / "nowhere")
    assert cifar.located(tmp_path) == cifar.located(folder)  # the folder it was unpacked in
    (folder / "data_batch_4").unlink()
    with pytest.raises(cifar.DataError, match="lacks data_batch_4; unpack"):
        cifar.located(folder)


def test_generated_images_are_the_same_for_a_seed_and_have_all_classes(cifar):
    first, again, other = cifar.shapes(200, 1), cifar.shapes(200, 1), cifar.shapes(200, 2)
    np.testing.assert_array_equal(first[0], again[0])
    assert (first[0] != other[0]).any()
    assert set(first[1].tolist()) == set(range(10))
    assert first[0].std(axis=(2, 3)).min() > 10  # there is something on each of them
    with pytest.raises(cifar.DataError, match="too few"):
        cifar.generate("unused", 49)


def archive(path: Path, members) -> str:
    """Write a .tar.gz of files and links; returns its MD5."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            else:
                member.type, member.linkname = tarfile.SYMTYPE, str(content)
                tar.addfile(member)
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def test_an_archive_is_checked_and_unpacked(cifar, folder, tmp_path):
    files = [(f"{folder.name}/{p.name}", p.read_bytes()) for p in sorted(folder.iterdir())]
    packed = tmp_path / "downloaded.tar.gz"
    outside = [("../outside", b"x"), (f"{folder.name}/../../outside", b"x"), ("/tmp/outside", b"x")]
    known = cifar.PYTHON._replace(md5=archive(packed, [*outside, *files]))
    with pytest.raises(cifar.DataError, match="as none of the published archives"):
        cifar.unpack(packed, tmp_path / "there")
    unpacked = cifar.unpack(packed, tmp_path / "there", [known])
    assert unpacked == tmp_path / "there" / folder.name
    assert {p.name for p in unpacked.iterdir()} == {p.name for p in folder.iterdir()}
    assert [p.name for p in (tmp_path / "there").iterdir()] == [folder.name]  # nothing beside it
    np.testing.assert_array_equal(cifar.read(unpacked).pixels, cifar.read(folder).pixels)
    with pytest.raises(cifar.DataError, match="is there already"):
        cifar.unpack(packed, tmp_path / "there", [known])
    with pytest.raises(cifar.DataError, match="no file"):
        cifar.unpack(tmp_path / "other.tar.gz", tmp_path)


@pytest.mark.parametrize("instead", [None, Path("/etc/hostname")], ids=["missing", "link"])
def test_an_archive_without_a_batch_leaves_nothing_behind(cifar, folder, tmp_path, instead):
    files = {f"{folder.name}/{p.name}": p.read_bytes() for p in sorted(folder.iterdir())}
    files[f"{folder.name}/data_batch_3"] = instead
    packed = tmp_path / "downloaded.tar.gz"
    md5 = archive(packed, [(name, content) for name, content in files.items() if content])
    with pytest.raises(cifar.DataError, match="has no data_batch_3"):
        cifar.unpack(packed, tmp_path / "there", [cifar.PYTHON._replace(md5=md5)])
    assert not list((tmp_path / "there").iterdir())


def test_command_line(launch):
    done = launch(None, DATA)
    assert done.returncode == 0
    assert "https://www.cs.toronto.edu/~kriz/cifar.html" in done.stdout
    assert "c58f30108f718f92721af3b95e74349a" in done.stdout
    assert launch(None, DATA, "--generate", "shapes", "--images", "50").returncode == 0
    done = launch(None, DATA, "--check", "shapes")
    assert done.stdout.startswith("50 images for training, 10 for the test\ndisc")
    for arguments, message in (
        (["--generate", "shapes"], "has data already"),
        (["--check", "nowhere"], "there is no CIFAR-10 in nowhere"),
        (["--unpack", "shapes/test_batch"], "as none of the published archives"),
    ):
        done = launch(None, DATA, *arguments)
        assert done.returncode == 2
        assert message in done.stderr
        assert done.stderr.count("\n") == 1


def need_torch() -> None:
    """Skip, or fail where PyTorch has been installed for this."""
    if importlib.util.find_spec("torch") is None:
        if os.environ.get("PHS_MPI_REQUIRE_TORCH") == "1":
            pytest.fail(f"there is no PyTorch in {sys.prefix}")
        pytest.skip("PyTorch is not installed: pip install 'phs-mpi[torch]'")


@pytest.mark.slow
def test_search_as_in_the_paper(cifar, folder, launch):
    need_torch()
    example = EXAMPLES / "cifar10.py"
    done = launch.phs(3, example, CIFAR10="nowhere")
    assert done.returncode == 2
    assert "there is no CIFAR-10 in nowhere" in done.stderr
    assert "Traceback" not in done.stderr

    for seed, name in enumerate(cifar.BATCHES):
        (folder / name).write_bytes(by_python_2(*coloured(100, seed)))
    small = {"CIFAR10_EPOCHS": "1", "CIFAR10_IMAGES": "500"}
    done = launch.phs(3, example, timeout=300, **small)
    assert done.returncode == 0, done.stdout + done.stderr
    with h5py.File(launch.folder / "cifar10.h5", locking=False) as file:
        rows = file["evaluations"][...]
    assert len(rows) == 30
    assert (rows["status"] == Status.DONE).all()
    values, metrics = rows["values"], rows["metrics"]
    drawn = rows["source"] != Source.BAYESIAN
    assert drawn[:10].all()
    assert drawn.sum() == 10
    for name, low, high in (("rate", 1e-4, 1), ("decay", 1e-6, 0.1)):
        assert len(np.unique(values[name][:10])) == 10
        assert len(np.unique(values[name][10:])) > 2  # many may lie at the edge
        assert values[name].min() >= low
        assert values[name].max() <= high
    assert set(values["batch"].tolist()) <= {16, 32, 64, 128, 256}
    assert (values["epochs"] == 1).all()
    np.testing.assert_allclose(rows["result"], 1 - metrics["accuracy"])
    assert (metrics["images_per_second"] > 0).all()
    assert metrics["accuracy"].min() >= 0
    assert metrics["accuracy"].max() > 0.5  # ten classes: 0.1 by chance, with 100 images ± 0.03

    done = launch.phs(
        None, "plot", "cifar10.h5", "timeline", "scatter", "--contour", "-p", "rate,batch"
    )
    assert done.returncode == 0, done.stderr
    assert (launch.folder / "cifar10.timeline.png").stat().st_size > 10_000
    assert (launch.folder / "cifar10.scatter.png").stat().st_size > 10_000
