import errno
import os
import shutil
import types
from importlib import metadata

import h5py
import numpy as np
import pytest
from results import PROVENANCE, SOURCE, make_experiment

from phs_mpi.errors import StoreError
from phs_mpi.experiment import Experiment
from phs_mpi.log import Status
from phs_mpi.store import creation


def create(path, experiment):
    creation.create(path, experiment.table(), experiment.describe(), SOURCE, PROVENANCE)


def test_plain_h5py_understands_the_file(tmp_path):
    experiment = make_experiment(metrics=["loss"])
    create(tmp_path / "a.h5", experiment)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["format_version"] == 1
        assert file.attrs["seed"] == 7
        assert file.attrs["target"] == "griewank"
        assert file.attrs["command"] == PROVENANCE["command"]
        assert file.attrs["numpy"] == np.__version__
        assert file.attrs["created"].endswith("Z")
        assert file["source/experiment.py"][()].decode() == SOURCE
        sets = file["parameter_sets"]
        assert sets["group"].tolist() == [0] * 12 + [1] * 8
        assert sets["values"]["x"].tolist() == experiment.table().values["x"].tolist()
        assert h5py.check_string_dtype(sets.dtype["values"]["kind"]).encoding == "utf-8"
        rows = file["evaluations"]
        assert not rows["status"].any()
        assert rows.dtype["metrics"].names == ("loss",)
        enum = h5py.check_enum_dtype(rows.dtype["status"])
        assert enum == {status.name: int(status) for status in Status}
        for name in ("evaluations", "errors", "log", "parameter_sets"):
            assert file[name].chunks is None
            assert file[name].id.get_offset() is not None
            assert "description" in file[name].attrs
    assert os.listdir(tmp_path) == ["a.h5"]


def test_a_parameter_called_like_a_column(tmp_path):
    experiment = Experiment(lambda status, kind: 0.0, {"status": np.uint8, "kind": "S3"})
    experiment.add(status=200, kind=b"abc")
    create(tmp_path / "a.h5", experiment)
    with h5py.File(tmp_path / "a.h5") as file:
        values = file["parameter_sets"]["values"]
        assert values["status"].tolist() == [200]
        assert h5py.check_enum_dtype(file["parameter_sets"].dtype["values"]["status"]) is None


def test_empty_rows_take_no_space(tmp_path):
    experiment = make_experiment(5, 20_000)
    create(tmp_path / "a.h5", experiment)
    found = os.stat(tmp_path / "a.h5")
    assert found.st_size > 40e6
    assert found.st_blocks * 512 < 2e6


def test_hundreds_of_parameters_and_too_many(tmp_path):
    def experiment(count):
        names = [f"parameter_{i}" for i in range(count)]
        made = Experiment(lambda **values: 0.0, dict.fromkeys(names, float))
        made.add(**dict.fromkeys(names, 0.5))
        return made

    create(tmp_path / "a.h5", experiment(400))
    with pytest.raises(StoreError, match="2000 parameters are too many"):
        create(tmp_path / "b.h5", experiment(2000))
    assert os.listdir(tmp_path) == ["a.h5"]


def test_a_huge_seed(tmp_path):
    create(tmp_path / "a.h5", make_experiment(seed=2**100))
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["seed"] == str(2**100)


def test_exists_already(tmp_path):
    create(tmp_path / "a.h5", make_experiment())
    with pytest.raises(StoreError, match="exists already"):
        create(tmp_path / "a.h5", make_experiment())


def test_folder_missing(tmp_path):
    with pytest.raises(StoreError, match=r"the folder .* does not exist; make it"):
        create(tmp_path / "no" / "a.h5", make_experiment())


def test_folder_read_only(tmp_path, monkeypatch):
    # The tests may run as root, who can write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(StoreError, match="cannot write in the folder"):
        create(tmp_path / "a.h5", make_experiment())


def test_too_little_space(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=70_000))
    with pytest.raises(
        StoreError, match=r"need about .* KiB, and .* has 68.4 KiB of free space left; make room"
    ):
        create(tmp_path / "a.h5", make_experiment())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_noticed_before_hdf5_is_at_work(tmp_path, monkeypatch, number):
    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", fail)
    with pytest.raises(StoreError, match=rf"{os.strerror(number)}; make room"):
        create(tmp_path / "a.h5", make_experiment())
    assert os.listdir(tmp_path) == []


def test_a_file_system_that_cannot_reserve(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", fail)
    create(tmp_path / "a.h5", make_experiment())
    assert os.listdir(tmp_path) == ["a.h5"]


def test_nothing_is_left_of_a_failed_creation(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match=r"cannot write the new file: No space left.*make room"):
        create(tmp_path / "a.h5", make_experiment())
    assert os.listdir(tmp_path) == []


def test_versions_are_those_that_the_packages_were_installed_as(tmp_path, monkeypatch):
    packages = ("numpy", "scipy", "scikit-learn", "h5py", "pytest")
    expected = {name: metadata.version(name) for name in packages}
    assert creation.versions((*packages, "no-such-package")) == expected
    # Where an old tool installed it, and of two that are there the one that is imported.
    (tmp_path / "Old_Tool.egg-info").mkdir()
    (tmp_path / "Old_Tool.egg-info" / "PKG-INFO").write_text("Name: Old-Tool\nVersion: 0.3\n")
    (tmp_path / "numpy-0.1.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert creation.versions(("old-tool", "numpy")) == {"old-tool": "0.3", "numpy": "0.1"}
