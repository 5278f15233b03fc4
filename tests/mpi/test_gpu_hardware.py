"""On a machine with a GPU of NVIDIA's: what CUDA shows a worker is what it was given."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from phs_mpi.log import Status
from phs_mpi.store import read

GPUS = len(list(Path("/dev").glob("nvidia[0-9]*")))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (GPUS and importlib.util.find_spec("torch")), reason="no GPU of NVIDIA's, or no PyTorch"
    ),
]

#: Each evaluation, and the module in each rank, tells what CUDA shows; with a sum on each device.
EXPERIMENT = """
import json, os, time
import torch
import phs_mpi
from phs_mpi import Experiment, Grid

def shown():
    devices = range(torch.cuda.device_count())
    sums = [torch.arange(100_000, device=f"cuda:{k}").sum().item() for k in devices]
    uuids = [str(torch.cuda.get_device_properties(k).uuid) for k in devices]
    return {"uuids": uuids, "sums": sums, "available": torch.cuda.is_available()}

def target(i):
    time.sleep(0.2)
    with open(f"seen.{i}.json", "w") as file:
        json.dump({"worker": phs_mpi.current().worker, "pid": os.getpid(), **shown()}, file)
    return i

if "COUNTED" in os.environ:
    with open(f"import.{os.environ.get('OMPI_COMM_WORLD_RANK')}.json", "w") as file:
        json.dump(torch.cuda.device_count(), file)
if "TAKES_IT" in os.environ and torch.cuda.is_available():
    torch.zeros(1, device="cuda")
experiment = Experiment(target, {"i": int})
experiment.add(i=Grid(list(range(12))))
"""


@pytest.fixture(autouse=True)
def nothing_said_of_gpus(monkeypatch):
    """The driver is asked, then."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def run(launch, ranks, *options, **env):
    """The devices that each worker saw, by its number, and what the run printed."""
    launch.write("experiment.py", EXPERIMENT)
    done = launch.phs(ranks, "experiment.py", *options, **env)
    assert done.returncode == 0, done.stderr
    found: dict[int, list[str]] = {}
    for path in launch.folder.glob("seen.*.json"):
        seen = json.loads(path.read_text())
        assert seen["sums"] == [100_000 * 99_999 // 2] * len(seen["uuids"])
        assert seen["available"] == bool(seen["uuids"])
        assert found.setdefault(seen["worker"], seen["uuids"]) == seen["uuids"]
    return found, done.stderr


@pytest.mark.parametrize("options", [(), ("--isolate",)])
def test_each_rank_computes_on_its_own(launch, options):
    found, said = run(launch, GPUS + 1, *options, COUNTED="1")
    assert len(found) == GPUS
    used = [uuid for uuids in found.values() for uuid in uuids]
    assert len(used) == len(set(used)) == GPUS
    assert "phs_mpi: 1 GPU a worker" in said
    assert json.loads((launch.folder / "import.0.json").read_text()) == 0


def test_two_share_one(launch):
    found, _ = run(launch, 2 * GPUS + 1, "--gpus-per-worker", "0.5")
    assert len(found) == 2 * GPUS
    assert all(len(uuids) == 1 for uuids in found.values())
    assert len({uuids[0] for uuids in found.values()}) == GPUS


@pytest.mark.parametrize("backend", [("--workers", "2"), ("--backend", "serial")])
def test_none(launch, backend):
    found, _ = run(launch, None, *backend, "--gpus-per-worker", "0")
    assert found
    assert not any(found.values())


@pytest.mark.parametrize("workers", [1, GPUS])
def test_worker_processes(launch, workers):
    found, _ = run(launch, None, "--backend", "processes", "--workers", str(workers))
    assert sorted(map(len, found.values())) == [GPUS // workers] * workers


def test_more_workers_than_gpus_all_see_all_or_are_refused_one_each(launch):
    """Nobody has spoken of GPUs, so that a run which needs none is not stopped."""
    found, _ = run(launch, GPUS + 2)
    assert [len(uuids) for uuids in found.values()] == [GPUS] * (GPUS + 1)
    done = launch.phs(GPUS + 2, "experiment.py", "--gpus-per-worker", "1", "--out", "other.h5")
    assert done.returncode == 2
    assert f"--gpus-per-worker 1 for {GPUS + 1} workers on" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("options", [(), ("--isolate",)])
def test_an_experiment_that_uses_it_when_it_is_loaded(launch, options):
    """Nothing is forked that has, which CUDA would not stand."""
    found, _ = run(
        launch, None, "--workers", "2", "--gpus-per-worker", "all", *options, TAKES_IT="1"
    )
    assert list(map(len, found.values())) == [GPUS] * 2


#: An index beyond a table is an assertion of the GPU, after which CUDA refuses that process.
BREAKS = """
import torch
from phs_mpi import Experiment

def target(how):
    if how == "too large":
        torch.empty(1 << 50, dtype=torch.uint8, device="cuda")
    if how == "broken":
        torch.zeros(4, device="cuda")[torch.tensor([7], device="cuda")].sum().item()
    return torch.ones(10, device="cuda").sum().item()

experiment = Experiment(target, {"how": str})
for how in ["fine", "too large", "fine", "broken", "fine", "fine"]:
    experiment.add(how=how)
"""


def ended(launch, *options):
    launch.write("breaks.py", BREAKS)
    done = launch.phs(2, "breaks.py", *options)
    assert done.returncode == 0, done.stderr
    return read(launch.folder / "breaks.h5")


def test_an_assertion_of_the_gpu_fails_one_evaluation(launch):
    done, failed = Status.DONE, Status.FAILED
    snapshot = ended(launch, "--isolate", "--retries", "1")
    assert list(snapshot.status) == [done, failed, done, failed, done, done]
    # Memory may be there at another try; what raises will do so again.
    assert snapshot.error(1).startswith("attempt 2: OutOfMemoryError: CUDA out of memory")
    assert not snapshot.error(3).startswith("attempt")
    assert "device-side assert" in snapshot.error(3)


def test_in_the_workers_own_process_what_follows_fails_too(launch):
    """As the page on faults says; memory that was not to be had costs one evaluation."""
    done, failed = Status.DONE, Status.FAILED
    snapshot = ended(launch)
    assert list(snapshot.status) == [done, failed, done, failed, failed, failed]
