"""The job scripts that users copy."""

from __future__ import annotations

import json
import os

from jobs import SCRIPTS, Folder

from phs_mpi.log import Status

GPUS = """
import json, os, socket
AT_IMPORT = os.environ.get("CUDA_VISIBLE_DEVICES")
import time
from phs_mpi import Experiment, Grid, current

def target(i):
    time.sleep(0.3)
    seen = [socket.gethostname(), current().worker, AT_IMPORT, os.environ["OMP_NUM_THREADS"]]
    with open(f"seen.{i}.json", "w") as file:
        json.dump(seen, file)
    return i

experiment = Experiment(target, {"i": int})
experiment.add(i=Grid(list(range(SETS))))
"""


def test_cpu(folder):
    folder.experiment(sets=20, seconds=0.1)
    options = ("--ntasks=4", "--cpus-per-task=2", "--time=10")
    job = folder.submit(SCRIPTS / "cpu.sbatch", "experiment.py", options=options)
    folder.slurm.wait(job)
    folder.check_complete(20, job)
    assert "backend mpi, 3 workers and the master" in folder.said()


def test_dask(folder):
    folder.experiment(sets=12, seconds=0.1)
    options = ("--ntasks=3", "--time=10")
    job = folder.submit(SCRIPTS / "dask.sbatch", "experiment.py", options=options)
    folder.slurm.wait(job)
    folder.check_complete(12, job)
    assert "backend dask" in folder.said()
    assert set(folder.rows()["worker"]) == {1, 2}


def seen(folder):
    return [json.loads(path.read_text()) for path in folder.path.glob("seen.*.json")]


def test_gpu(two_nodes, tmp_path):
    """Nine ranks on two nodes of four GPUs, which SLURM believes in."""
    folder = Folder(two_nodes, tmp_path)
    (tmp_path / "experiment.py").write_text(GPUS.replace("SETS", "48"))
    options = ("--nodes=2", "--cpus-per-task=2", "--time=10")
    job = folder.submit(SCRIPTS / "gpu.sbatch", "experiment.py", options=options)
    two_nodes.wait(job)
    assert (folder.rows()["status"] == Status.DONE).all(), folder.report(job)
    found = {(host, device) for host, _, device, _ in seen(folder)}
    workers = {(host, worker) for host, worker, _, _ in seen(folder)}
    assert found == {(host, device) for host in ("n1", "n2") for device in "0123"}
    assert len(workers) == 8
    # Two for each task, if this machine has as many.
    threads = max(1, min(2, len(os.sched_getaffinity(0)) // 4))
    assert {number for *_, number in seen(folder)} == {str(threads)}
    also = f" and {threads} threads" if threads > 1 else ""
    assert f"1 GPU{also} a worker on 2 nodes" in folder.said()
    assert "srun: " not in folder.said()


def test_gpus_that_slurm_has_bound_are_left_alone(folder):
    (folder.path / "experiment.py").write_text(GPUS.replace("SETS", "12"))
    job = folder.submit(
        """\
        #!/bin/bash
        #SBATCH --ntasks=4
        #SBATCH --gpus-per-task=1
        srun --gpus-per-task=1 python -m phs_mpi experiment.py
        """
    )
    folder.slurm.wait(job)
    assert (folder.rows()["status"] == Status.DONE).all(), folder.report(job)
    assert {device for _, _, device, _ in seen(folder)} == {"1", "2", "3"}


def test_too_few_gpus_are_one_line(folder):
    (folder.path / "experiment.py").write_text(GPUS.replace("SETS", "12"))
    job = folder.submit(
        """\
        #!/bin/bash
        #SBATCH --ntasks=4
        #SBATCH --gpus-per-node=2
        srun python -m phs_mpi experiment.py
        """
    )
    assert folder.slurm.wait(job)["JobState"] == "FAILED"
    lines = [line for line in folder.said().splitlines() if "phs_mpi:" in line]
    assert len(lines) == 1
    assert "3 workers on" in lines[0]
    assert "would share 2 GPUs" in lines[0]
    assert not (folder.path / "experiment.h5").exists()
