from __future__ import annotations

import math
import os
import signal
import time
from pathlib import Path

import pytest

from phs_mpi.backends import base, signals
from phs_mpi.errors import BackendError
from phs_mpi.experiment import Experiment


@pytest.mark.parametrize(
    ("environment", "workers", "backend"),
    [
        ({}, None, "serial"),
        ({}, 1, "serial"),
        ({}, 3, "processes"),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, None, "serial"),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, None, "mpi"),
        ({"PMI_SIZE": "4"}, None, "mpi"),
        ({"SLURM_STEP_NUM_TASKS": "64"}, None, "mpi"),
        # mpirun inside a SLURM job: SLURM counts the launcher's daemons, MPI its ranks.
        ({"SLURM_STEP_NUM_TASKS": "2", "OMPI_COMM_WORLD_SIZE": "64"}, None, "mpi"),
        ({"SLURM_STEP_NUM_TASKS": "2", "OMPI_COMM_WORLD_SIZE": "1"}, None, "serial"),
    ],
)
def test_auto_follows_the_launcher(monkeypatch, environment, workers, backend):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert base.choose("auto", base.Options(workers=workers)) == backend


def test_several_ranks_of_a_backend_that_is_one_program_are_refused(monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    with pytest.raises(BackendError, match="4 ranks were launched for the backend 'processes'"):
        base.choose("processes", base.Options())


@pytest.mark.parametrize(
    "given", [{"scheduler": "tcp://host:8786"}, {"scheduler_file": Path("s.json")}]
)
def test_a_scheduler_means_dask(monkeypatch, given):
    options = base.Options(workers=3, **given)
    assert base.choose("auto", options) == base.choose("dask", options) == "dask"
    with pytest.raises(BackendError, match="scheduler is given for the backend 'serial'"):
        base.choose("serial", options)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    with pytest.raises(BackendError, match="4 ranks were launched for the backend 'dask'"):
        base.choose("auto", options)


def test_dask_deals_out_no_gpus():
    with pytest.raises(BackendError, match=r"'dask' deals out no GPUs.*CUDA_VISIBLE_DEVICES"):
        base.choose("dask", base.Options(gpus_per_worker="1"))


@pytest.mark.parametrize(
    ("environment", "launcher"),
    [
        ({}, ""),
        ({"OMPI_COMM_WORLD_SIZE": "8"}, "mpirun -n 8 "),
        ({"SLURM_STEP_NUM_TASKS": "8"}, "srun -n 8 "),
        ({"SLURM_STEP_NUM_TASKS": "8", "PMI_SIZE": "8"}, "srun -n 8 "),
        ({"SLURM_STEP_NUM_TASKS": "1", "OMPI_COMM_WORLD_SIZE": "8"}, "mpirun -n 8 "),
        ({"SLURM_STEP_NUM_TASKS": "1", "MPI_LOCALNRANKS": "8", "PMI_SIZE": "8"}, "mpirun -n 8 "),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, ""),  # a batch step is no rank
    ],
)
def test_the_command_that_goes_on_names_the_launcher(monkeypatch, environment, launcher):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    options = base.Options(command=["x", "experiment.py", "-o", "a b.h5"])
    expected = f"{launcher}python -m phs_mpi experiment.py -o 'a b.h5'"
    assert base.resume_command(options) == expected


def test_two_schedulers_are_refused():
    with pytest.raises(BackendError, match="two Dask schedulers"):
        base.choose("auto", base.Options(scheduler="a:1", scheduler_file=Path("s.json")))


@pytest.mark.parametrize(
    ("name", "path", "output"),
    [
        ("mine", "/some/where/experiment.py", "experiment.h5"),
        ("mine", "", "mine.h5"),
        ("outer.<locals>.target", "", "outer._locals_.target.h5"),
        ("<lambda>", "", "lambda.h5"),
        ("///", "", "experiment.h5"),
    ],
)
def test_default_output(name, path, output):
    experiment = Experiment(lambda x: x, {"x": float}, name=name)
    experiment.path = path
    assert base.default_output(experiment) == Path(output)


class TestInterrupts:
    def test_first_and_second(self):
        asked = []

        def interrupted_twice():
            with signals.interrupts(lambda: asked.append(1)):
                os.kill(os.getpid(), signal.SIGINT)
                assert asked == [1]
                os.kill(os.getpid(), signal.SIGTERM)

        with pytest.raises(KeyboardInterrupt) as caught:
            interrupted_twice()
        assert not isinstance(caught.value, signals.GraceOver)

    def test_grace_ends(self):
        def interrupted():
            with signals.interrupts(lambda: None, 0.05):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(30)

        with pytest.raises(signals.GraceOver):
            interrupted()

    def test_no_grace_without_an_interrupt_and_none_left_behind(self):
        before = signal.getsignal(signal.SIGALRM)
        with signals.interrupts(lambda: None, 0.01):
            time.sleep(0.05)
        with signals.interrupts(lambda: None, 30):
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
        assert signal.getsignal(signal.SIGALRM) is before

    def test_without_again_every_one_is_told(self):
        asked = []
        with signals.interrupts(lambda: asked.append(1), math.inf, again=False):
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGINT)
        assert len(asked) == 3

    def test_the_end_of_the_time_comes_in_any_case(self):
        soon = time.monotonic() + 0.05
        with pytest.raises(signals.TimeOver), signals.interrupts(lambda: None, end=soon):
            time.sleep(30)
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)

    def test_it_cuts_the_grace_short(self):
        def interrupted():
            with signals.interrupts(lambda: None, 60, end=time.monotonic() + 0.05):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(30)

        with pytest.raises(signals.TimeOver):
            interrupted()

    def test_who_swallows_it_is_told_again(self):
        told = 0
        with signals.interrupts(lambda: None, end=time.monotonic() + 0.05):
            while told < 2:
                try:
                    time.sleep(30)
                except signals.TimeOver:
                    told += 1
        assert told == 2

    def test_a_signal_sent_ahead_stops_nothing_at_once(self):
        with signals.interrupts(lambda: None) as received:
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGUSR1)
        assert received == [signal.SIGUSR1] * 3
