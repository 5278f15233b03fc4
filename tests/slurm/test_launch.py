"""Started in all the ways of SLURM, a run knows its ranks and evaluates everything once."""

from __future__ import annotations

import subprocess
import sys

import pytest


def srun(folder, ranks, *arguments):
    run = ["python", "-m", "phs_mpi", "experiment.py", *arguments]
    return folder.slurm("srun", "-n", str(ranks), *run, cwd=folder.path, timeout=600)


@pytest.mark.parametrize("ranks", [8, 64])
def test_srun(folder, ranks):
    folder.experiment(sets=80, seconds=0.1)
    done = srun(folder, ranks)
    assert done.returncode == 0, done.stderr
    assert f"backend mpi, {ranks - 1} workers and the master" in done.stderr
    folder.check_complete(80)


def test_srun_isolated(folder):
    folder.experiment(sets=12, seconds=0.1)
    done = srun(folder, 3, "--isolate")
    assert done.returncode == 0, done.stderr
    folder.check_complete(12)


def test_srun_in_a_batch_script(folder):
    folder.experiment(sets=20, seconds=0.1)
    job = folder.submit(
        """\
        #!/bin/bash
        #SBATCH --ntasks=4
        srun python -m phs_mpi experiment.py
        """
    )
    folder.slurm.wait(job)
    folder.check_complete(20, job)
    assert "backend mpi, 3 workers and the master" in folder.said()


def test_mpirun_in_a_batch_script(folder):
    folder.experiment(sets=20, seconds=0.1)
    job = folder.submit(
        """\
        #!/bin/bash
        #SBATCH --ntasks=4
        mpirun -n 4 python -m phs_mpi experiment.py
        """
    )
    folder.slurm.wait(job)
    folder.check_complete(20, job)
    assert "backend mpi, 3 workers and the master" in folder.said()


@pytest.mark.parametrize(
    ("options", "backend"), [("", "serial"), ("--workers 2", "processes, 2 workers")]
)
def test_without_a_launcher_a_batch_step_is_no_rank(folder, options, backend):
    folder.experiment(sets=10, seconds=0.1)
    job = folder.submit(
        f"""\
        #!/bin/bash
        #SBATCH --ntasks=8
        python -m phs_mpi experiment.py {options}
        """
    )
    folder.slurm.wait(job)
    folder.check_complete(10, job)
    assert f"backend {backend}" in folder.said()


def test_a_second_run_on_the_same_file_is_refused(folder):
    folder.experiment(sets=200, seconds=0.3)
    job = folder.submit(
        """\
        #!/bin/bash
        #SBATCH --ntasks=3
        srun python -m phs_mpi experiment.py
        """
    )
    folder.wait_for(lambda: folder.calls("end"), job)
    done = srun(folder, 2)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("phs_mpi:")]
    assert len(lines) == 1
    assert "experiment.h5" in lines[0]
    assert "Traceback" not in done.stderr
    again = subprocess.run(
        [sys.executable, "-m", "phs_mpi", "experiment.py"],
        cwd=folder.path,
        env=folder.slurm.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert again.returncode == 2, again.stderr
    assert folder.slurm.job(job)["JobState"] == "RUNNING"
