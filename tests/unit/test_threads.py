from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from phs_mpi.backends import threads
from phs_mpi.backends.threads import Cores


def cores(*numbers, allotted=None, per_task=None):
    return Cores(frozenset(numbers), allotted, per_task)


@pytest.mark.parametrize(
    ("own", "workers", "expected"),
    [
        (cores(*range(16)), 4, 4),
        (cores(*range(16)), 5, 3),
        (cores(*range(2)), 8, 1),
        # SLURM binds nothing, but has given 6 of the machine's cores
        (cores(*range(64), allotted=6), 3, 2),
        (cores(*range(64), allotted=32, per_task=4), 4, 4),
        # a batch step has the numbers of the whole job; mpirun starts more than SLURM was told of
        (cores(*range(64), allotted=16, per_task=16), 8, 2),
        (cores(3, allotted=16, per_task=2), 1, 1),
    ],
)
def test_threads_of_workers_that_share_cores(own, workers, expected):
    assert own.shared_by(workers) == expected


def test_workers_that_are_bound_apart_share_nothing():
    assert threads.of_each([cores(0, 1), cores(2, 3), cores(4, 5, 6)]) == [2, 2, 3]
    assert threads.of_each([cores(0, 1, 2, 3), cores(0, 1, 2, 3), cores(4, 5)]) == [2, 2, 2]
    assert threads.of_each([]) == []


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "5"}, 5),
        ({"MPI_LOCALNRANKS": "3", "SLURM_STEP_TASKS_PER_NODE": "7", "SLURM_NODEID": "0"}, 3),
        ({"SLURM_STEP_TASKS_PER_NODE": "7", "SLURM_NODEID": "0"}, 7),
        ({"SLURM_STEP_TASKS_PER_NODE": "8(x2),7", "SLURM_NODEID": "1"}, 8),
        ({"SLURM_STEP_TASKS_PER_NODE": "8(x2),7", "SLURM_NODEID": "2"}, 7),
        ({"SLURM_STEP_TASKS_PER_NODE": "8(x2),7", "SLURM_NODEID": "3"}, None),
        ({"SLURM_TASKS_PER_NODE": "8", "SLURM_NODEID": "0"}, None),  # a batch step is no rank
    ],
)
def test_ranks_of_this_node(environ, expected):
    assert threads.local_ranks(environ) == expected


def test_what_the_user_has_set_is_left_alone(monkeypatch):
    monkeypatch.setattr(threads, "_ours", {})
    environ = {"OMP_NUM_THREADS": "3"}
    assert threads.set_variables(2, environ) == []
    assert environ == {"OMP_NUM_THREADS": "3"}
    environ = {"MKL_NUM_THREADS": "3"}
    assert threads.set_variables(2, environ) == ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"]
    assert environ["MKL_NUM_THREADS"] == "3"
    assert threads.left_to_us(environ)
    # what was set here may be set again
    assert threads.set_variables(2, environ) == []
    assert threads.set_variables(4, environ) == ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"]
    assert environ["OMP_NUM_THREADS"] == "4"


def test_libraries_that_are_loaded_are_told_and_restored():
    code = """
import json, os
from phs_mpi.backends import threads
from phs_mpi.backends.placement import Place, applied
os.environ["OMPI_COMM_WORLD_LOCAL_SIZE"] = "1000000"
threads.before_numpy()
import numpy
from threadpoolctl import threadpool_info
def now():
    return [os.environ["OMP_NUM_THREADS"], max(p["num_threads"] for p in threadpool_info())]
seen = [now()]
with applied(Place(threads=2)):
    seen.append(now())
print(json.dumps([*seen, now()]))
"""
    environ = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [["1", 1], ["2", 2], ["1", 1]]


def test_the_module_loads_no_numpy():
    code = "import sys, phs_mpi.backends.threads; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
