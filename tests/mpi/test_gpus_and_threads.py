"""Each worker sees its own GPUs, and its share of the cores, when the target is imported."""

from __future__ import annotations

import json
import os

import pytest

#: The target reports what was in the environment when its module was imported, and what is now.
EXPERIMENT = """
import json, os
AT_IMPORT = {name: value for name, value in os.environ.items() if "DEVICES" in name}
from phs_mpi import Experiment, Grid, current
import time

def target(i):
    time.sleep(0.1)
    from threadpoolctl import threadpool_info
    seen = {
        "worker": current().worker,
        "import": AT_IMPORT,
        "now": {name: os.environ.get(name) for name in AT_IMPORT},
        "threads": [os.environ.get(name + "_NUM_THREADS") for name in ("OMP", "MKL", "OPENBLAS")],
        "loaded": sorted({p["num_threads"] for p in threadpool_info()}),
    }
    with open(f"seen.{i}.json", "w") as file:
        json.dump(seen, file)
    return i

with open(f"import.{os.environ.get('OMPI_COMM_WORLD_RANK', '')}.json", "w") as file:
    json.dump(AT_IMPORT, file)
experiment = Experiment(target, {"i": int})
experiment.add(i=Grid([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]))
"""

CUDA = "CUDA_VISIBLE_DEVICES"


@pytest.fixture(autouse=True)
def nothing_said_of_threads(monkeypatch):
    """Other tests of this process may have said something (OMP is the launcher's, see conftest)."""
    for name in ("MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


def run(launch, ranks, *options, **env):
    launch.write("experiment.py", EXPERIMENT)
    done = launch.phs(ranks, "experiment.py", *options, **env)
    seen = [json.loads(path.read_text()) for path in launch.folder.glob("seen.*.json")]
    return done, seen


def devices(seen, name=CUDA):
    """What each worker saw, by its number; the same in all of its evaluations."""
    found = {one["worker"]: one["import"].get(name) for one in seen}
    for one in seen:
        assert one["now"] == one["import"]
        assert one["import"].get(name) == found[one["worker"]]
    return found


@pytest.mark.parametrize("options", [(), ("--isolate",)])
def test_each_rank_has_its_own_before_the_target_is_imported(launch, options):
    done, seen = run(launch, 3, *options, CUDA_VISIBLE_DEVICES="4,5,6,7")
    assert done.returncode == 0, done.stderr
    assert devices(seen) == {1: "4,5", 2: "6,7"}
    assert "phs_mpi: 2 GPUs a worker on 1 node" in done.stderr.splitlines()
    master = json.loads((launch.folder / "import.0.json").read_text())
    assert master[CUDA] == "-1"


def test_names_of_devices_and_a_share_of_one(launch):
    done, seen = run(
        launch, 5, "--gpus-per-worker", "0.5", "-q", CUDA_VISIBLE_DEVICES="GPU-a,MIG-b"
    )
    assert done.returncode == 0, done.stderr
    assert devices(seen) == {1: "GPU-a", 2: "MIG-b", 3: "GPU-a", 4: "MIG-b"}
    assert "GPU" not in done.stderr


@pytest.mark.parametrize("ranks", [None, 4])
def test_too_few_are_one_error_before_anything_runs(launch, ranks):
    workers = ["--workers", "3"] if ranks is None else []
    done, seen = run(launch, ranks, *workers, CUDA_VISIBLE_DEVICES="0,1")
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("phs_mpi:")]
    assert len(lines) == 1
    assert "3 workers on" in lines[0]
    assert "would share 2 GPUs (CUDA_VISIBLE_DEVICES=0,1)" in lines[0]
    assert "--gpus-per-worker 0.5" in lines[0]
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in launch.folder.iterdir()) == ["experiment.py"]
    assert not seen


def test_what_a_launcher_has_bound_is_left_alone(launch):
    launch.write("bind.py", BIND)
    launch.write("experiment.py", EXPERIMENT)
    done = launch(3, "bind.py", "experiment.py")
    assert done.returncode == 0, done.stderr
    seen = [json.loads(path.read_text()) for path in launch.folder.glob("seen.*.json")]
    assert devices(seen) == {1: "1,11", 2: "2,12"}


#: As a launcher that gives each task its own, like srun --gpus-per-task.
BIND = """
import os, sys
rank = int(os.environ["OMPI_COMM_WORLD_RANK"])
os.environ["CUDA_VISIBLE_DEVICES"] = f"{rank},{rank + 10}"
os.execv(sys.executable, [sys.executable, "-m", "phs_mpi", *sys.argv[1:]])
"""


def test_worker_processes(launch):
    done, seen = run(
        launch, None, "--workers", "2", "--gpus-per-worker", "1", HIP_VISIBLE_DEVICES="1,2,3"
    )
    assert done.returncode == 0, done.stderr
    assert set(devices(seen, "HIP_VISIBLE_DEVICES").values()) == {"1", "2"}
    assert "1 GPU a worker" in done.stderr


def test_a_script_has_its_environment_back_after_a_run(launch):
    launch.write("script.py", SCRIPT)
    launch.write("experiment.py", EXPERIMENT)
    done = launch(3, "script.py", CUDA_VISIBLE_DEVICES="0,1,2,3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0,1,2,3"] * 3
    seen = [json.loads(path.read_text()) for path in launch.folder.glob("seen.*.json")]
    assert devices(seen) == {1: "0", 2: "1"}


SCRIPT = """
import os
import phs_mpi
results = phs_mpi.run("experiment.py", gpus_per_worker=1, quiet=True)
assert results.complete
print(os.environ["CUDA_VISIBLE_DEVICES"] + "\\n", end="")
"""


def test_one_process_sees_all_or_what_it_was_promised(launch):
    done, seen = run(launch, None, CUDA_VISIBLE_DEVICES="1,2")
    assert done.returncode == 0, done.stderr
    assert set(devices(seen).values()) == {"1,2"}
    done, _ = run(launch, None, "--gpus-per-worker", "3", CUDA_VISIBLE_DEVICES="1,2")
    assert done.returncode == 2
    assert "--gpus-per-worker 3 for 1 worker" in done.stderr


@pytest.mark.parametrize("ranks", [None, 3])
def test_threads_follow_the_cores(launch, ranks):
    """Two workers; the launcher of the tests sets OMP_NUM_THREADS, which is undone here."""
    launch.write("free.py", FREE)
    launch.write("experiment.py", EXPERIMENT)
    workers = ["--workers", "2"] if ranks is None else []
    done = launch(ranks, "free.py", "experiment.py", *workers)
    assert done.returncode == 0, done.stderr
    seen = [json.loads(path.read_text()) for path in launch.folder.glob("seen.*.json")]
    threads = max(1, (os.cpu_count() or 1) // 2)
    assert len(seen) == 10
    for one in seen:
        assert one["threads"] == [str(threads)] * 3
        assert one["loaded"] == [threads]


#: Nothing said of threads, all cores.
FREE = """
import os, sys
for name in ("OMP", "MKL", "OPENBLAS"):
    os.environ.pop(name + "_NUM_THREADS", None)
os.sched_setaffinity(0, range(os.cpu_count()))
os.execv(sys.executable, [sys.executable, "-m", "phs_mpi", *sys.argv[1:]])
"""


def test_the_users_number_of_threads_is_left_alone(launch):
    done, seen = run(launch, 3, OMP_NUM_THREADS="5", OPENBLAS_NUM_THREADS="")
    assert done.returncode == 0, done.stderr
    for one in seen:
        assert one["threads"] == ["5", None, ""]
