from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest

from phs_mpi.backends import remote, shipping
from phs_mpi.errors import DefinitionError
from phs_mpi.experiment import Experiment
from phs_mpi.limits import Limits
from phs_mpi.log import EntryKind, LogEntry
from phs_mpi.strategies import Bayesian, Random

ROW = np.dtype([("x", "f8"), ("name", "S5"), ("big", "f16")])


def test_entries_cross_as_bytes():
    row = np.array((0.1, b"abc", 1), ROW)
    entries = [
        LogEntry(EntryKind.STARTED, 3, 1),
        LogEntry(EntryKind.STARTED, 2**40, 2, row=row),
        LogEntry(EntryKind.COMPLETED, 3, 1, result=-0.0),
        LogEntry(EntryKind.LOST, 5, 70_000),
    ]
    raw = remote.encode(entries)
    assert len(raw) == 4 * 25 + ROW.itemsize
    back = list(remote.decode(raw, ROW))
    assert [e[:3] for e in back] == [e[:3] for e in entries]
    assert math.copysign(1, back[2].result) == -1
    assert back[1].row.tobytes() == row.tobytes()
    assert [e.row is None for e in back] == [True, False, True, True]
    assert list(remote.decode(b"", ROW)) == []


@pytest.fixture
def experiment(tmp_path, monkeypatch, modules_restored):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiment.py").write_text(
        "from phs_mpi import Experiment, Random, Bayesian\n"
        "def target(x):\n"
        "    open('here', 'a').close()\n"
        "    return x\n"
        "experiment = Experiment(target, {'x': float}, seed=1)\n"
        "experiment.add(6, x=Random(0, 1))\n"
        "experiment.add(2, x=Bayesian(0, 1))\n"
    )
    return shipping.load_experiment("experiment.py")


def test_a_run_in_a_worker_process(experiment, tmp_path):
    table = experiment.table()
    shipment = shipping.pack(experiment, table, tmp_path / "r.h5")
    with pytest.raises(remote.NotPrepared):
        remote.evaluate(shipment.run, [0], 1.0)
    remote.prepare(shipment, 1)
    found = remote.evaluate(shipment.run, [0, 3], 1.0)
    assert [d.outcome.result for d in found] == [table.values["x"][0], table.values["x"][3]]
    log = [LogEntry(EntryKind.COMPLETED, i, result=r) for i, r in ((0, 1.0), (3, 2.0), (4, 0.5))]
    proposal, seconds = remote.propose(shipment.run, 6, 3, remote.encode(log))
    assert 0 <= proposal.values["x"] <= 1
    assert seconds > 0
    again, _ = remote.propose(shipment.run, 6, 3, b"")
    assert again == proposal
    remote.leave(shipment.run)
    with pytest.raises(remote.NotPrepared):
        remote.propose(shipment.run, 6, 3, b"")


def test_after_a_long_one_the_others_are_left(experiment, tmp_path):
    shipment = shipping.pack(experiment, experiment.table(), tmp_path / "r.h5")
    remote.prepare(shipment, 1)
    assert len(remote.evaluate(shipment.run, [0, 1, 2], short=10.0)) == 3
    assert len(remote.evaluate(shipment.run, [0, 1, 2], short=0.0)) == 1
    remote.leave(shipment.run)


def test_runs_that_nobody_closed_are_forgotten(experiment, tmp_path):
    table = experiment.table()
    shipments = [
        shipping.pack(experiment, table, tmp_path / "r.h5") for _ in range(remote.MOST_RUNS + 1)
    ]
    for shipment in shipments:
        remote.prepare(shipment, 1)
    with pytest.raises(remote.NotPrepared):
        remote.evaluate(shipments[0].run, [0], 1.0)
    for shipment in shipments[1:]:
        assert remote.evaluate(shipment.run, [0], 1.0)
        remote.leave(shipment.run)


def test_without_the_clients_disk(experiment, tmp_path):
    """The marker cannot be read: everything is unpacked into a folder of its own."""
    marker = tmp_path / "marker"
    shipment = shipping.pack_with_files(experiment, experiment.table(), tmp_path / "r.h5", marker)
    assert marker.read_text() == shipment.run
    marker.unlink()
    remote.prepare(shipment, 1)
    (found,) = remote.evaluate(shipment.run, [0], 1.0)
    assert found.outcome.error == ""
    assert found.files == {}
    assert not (tmp_path / "here").exists()
    assert Path.cwd() == tmp_path
    place = remote._runs[shipment.run].place
    assert os.listdir(place.working_folder).count("here") == 1
    remote.leave(shipment.run)
    assert not Path(place.temporary).exists()


def test_local_files(tmp_path, monkeypatch):
    for name, text in {
        "experiment.py": "import a\nimport numpy\n",
        "a.py": "def f():\n    from pkg.deep import g\n",
        "pkg/__init__.py": "",
        "pkg/deep.py": "from . import side\n",
        "pkg/side.py": "",
        "unused.py": "",
        "data.csv": "",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    found = shipping.local_files(str(tmp_path / "experiment.py"), tmp_path)
    assert sorted(found) == [
        "a.py",
        "experiment.py",
        "pkg/__init__.py",
        "pkg/deep.py",
        "pkg/side.py",
    ]
    (tmp_path / "a.py").write_text("def broken(:\n")
    assert "experiment.py" in shipping.local_files(str(tmp_path / "experiment.py"), tmp_path)


def test_an_experiment_without_a_file_is_pickled(tmp_path):
    shift = 3.0
    experiment = Experiment(lambda x: x + shift, {"x": float}, seed=1, capture=False)
    experiment.add(2, x=Random(0, 1))
    experiment.add(1, x=Bayesian(0, 1))
    shipment = shipping.pack(experiment, experiment.table(), tmp_path / "r.h5")
    assert shipment.table is None
    remote.prepare(shipment, 1)
    found = remote.evaluate(shipment.run, [1], 1.0)
    assert found[0].outcome.result == experiment.table().values["x"][1] + 3
    remote.leave(shipment.run)


def test_a_pickle_that_does_not_load_is_one_message(tmp_path):
    shipment = shipping.Shipment("run", tmp_path / "r.h5", 0, Limits(), pickled=b"nonsense")
    with pytest.raises(DefinitionError, match="cannot be unpickled on a worker"):
        remote.prepare(shipment, 1)
