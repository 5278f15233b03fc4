"""Time limits, cancelled and preempted jobs, lost nodes: nothing is lost or counted twice."""

from __future__ import annotations

import os
import signal

import pytest
from jobs import SCRIPTS, Folder

from phs_mpi.log import Status

#: What a job of the script has: three workers.
SMALL = ("--ntasks=4", "--cpus-per-task=1")


def held_against_its_log(folder, workers):
    """What was committed when the job ended; no more than one evaluation a worker is missing."""
    committed = folder.committed()
    ended = set(folder.calls("end"))
    assert committed <= ended
    assert len(ended - committed) <= workers
    return committed


def resumed(folder, committed, before, sets):
    """Check that what was committed stays as it is, and is not evaluated again."""
    rows = folder.rows()
    for index in committed:
        assert before[index].tobytes() == rows[index].tobytes()
    started = folder.calls("start")
    for index in committed:
        assert started.count(index) == 1
    assert set(folder.calls("end")) == set(range(sets))


def test_a_job_drains_before_its_time_limit_and_runs_again_by_itself(folder):
    """A minute is the shortest limit there is; the work is 67 s of three workers."""
    folder.experiment(sets=200, seconds=1)
    job = folder.submit(SCRIPTS / "requeue.sbatch", "experiment.py", options=(*SMALL, "--time=1"))
    folder.slurm.wait(job, seconds=240)
    folder.check_complete(200, job)
    said = folder.said()
    assert "nothing more is started" in said or "are left" in said
    assert f"asking SLURM to run job {job} again" in said
    assert "going on with experiment.h5" in said
    # It drained: what was started was finished, and nothing was evaluated twice.
    assert sorted(folder.calls("start")) == list(range(200))


def test_a_signal_ahead_of_the_end_does_the_same(folder):
    folder.experiment(sets=60, seconds=0.5)
    job = folder.submit(SCRIPTS / "requeue.sbatch", "experiment.py", options=SMALL)
    folder.wait_for(lambda: len(folder.calls("end")) >= 10, job)
    folder.slurm.run("scancel", "--signal=USR1", str(job))
    folder.slurm.wait(job)
    folder.check_complete(60, job)
    assert int(folder.slurm.job(job)["Restarts"]) == 1
    assert sorted(folder.calls("start")) == list(range(60))


def test_a_cancelled_job_loses_nothing(folder):
    folder.experiment(sets=120, seconds=0.2)
    script = SCRIPTS / "cpu.sbatch"
    job = folder.submit(script, "experiment.py", options=SMALL)
    folder.wait_for(lambda: len(folder.calls("end")) >= 20, job)
    folder.slurm.run("scancel", str(job))
    assert folder.slurm.wait(job)["JobState"] == "CANCELLED"
    before = folder.rows()
    committed = held_against_its_log(folder, workers=3)
    assert 20 - 3 <= len(committed) < 120
    job = folder.submit(script, "experiment.py", options=SMALL)
    folder.slurm.wait(job)
    folder.check_complete(120, job, again=3)
    resumed(folder, committed, before, 120)


@pytest.mark.parametrize("rank", [0, 2])
def test_a_killed_rank_ends_the_job_with_one_line(folder, rank):
    folder.experiment(sets=120, seconds=0.2)
    script = SCRIPTS / "cpu.sbatch"
    job = folder.submit(script, "experiment.py", options=SMALL)
    folder.wait_for(lambda: len(folder.calls("end")) >= 20, job)
    os.kill(folder.rank(rank), signal.SIGKILL)
    assert folder.slurm.wait(job)["JobState"] == "FAILED"
    died = [line for line in folder.said().splitlines() if "has died" in line]
    assert len(died) == 1, folder.report(job)
    assert f"rank {rank} on" in died[0]
    assert "srun -n 4 python -m phs_mpi experiment.py" in died[0]
    before = folder.rows()
    committed = held_against_its_log(folder, workers=3)
    assert 20 - 3 <= len(committed) < 120
    job = folder.submit(script, "experiment.py", options=SMALL)
    folder.slurm.wait(job)
    folder.check_complete(120, job, again=3)
    resumed(folder, committed, before, 120)


def test_a_preempted_job_comes_back(folder):
    folder.experiment(sets=60, seconds=0.5)
    job = folder.submit(
        SCRIPTS / "requeue.sbatch", "experiment.py", options=(*SMALL, "--partition=low")
    )
    folder.wait_for(lambda: len(folder.calls("end")) >= 10, job)
    urgent = folder.submit(
        "#!/bin/bash\nsleep 3\n", options=("--exclusive", "--job-name=urgent", "--output=urgent")
    )
    folder.slurm.wait(urgent, "RUNNING", "COMPLETED")
    # SLURM 22.05 may leave the socket of a step that it has cancelled, and then cannot make the
    # same one for the job's next turn.
    for left in folder.slurm.folder.glob("spool.*/stepd.slurm.pmix.*"):
        left.unlink(missing_ok=True)
    before, committed = folder.rows(), held_against_its_log(folder, workers=3)
    assert len(committed) < 60
    assert folder.slurm.wait(job)["JobState"] == "COMPLETED"
    folder.check_complete(60, job, again=3)
    assert int(folder.slurm.job(job)["Restarts"]) >= 1
    resumed(folder, committed, before, 60)


@pytest.mark.parametrize("loss", ["said", "dead"])
def test_a_lost_node_costs_what_ran_on_it(two_nodes, tmp_path, loss):
    """A job on two nodes, of which one goes down, is run again on the other one."""
    folder = Folder(two_nodes, tmp_path)
    folder.experiment(sets=100, seconds=0.4)
    job = folder.submit(
        SCRIPTS / "requeue.sbatch",
        "experiment.py",
        options=(*SMALL, "--nodes=1-2"),
    )
    folder.wait_for(lambda: len(folder.calls("end")) >= 10, job)
    assert two_nodes.job(job)["NumNodes"] == "2"
    assert two_nodes.job(job)["BatchHost"] == "n1"
    if loss == "said":
        two_nodes.run("scontrol", "update", "nodename=n2", "state=down", "reason=test")
    else:
        two_nodes.kill_node("n2")
    two_nodes.wait(job, "PENDING")
    assert two_nodes.job(job)["Restarts"] == "1"
    committed = held_against_its_log(folder, workers=3)
    assert 10 - 3 <= len(committed) < 100
    two_nodes.wait(job)
    folder.check_complete(100, job, again=3)
    if loss == "dead":
        assert two_nodes.job(job)["NodeList"] == "n1"


BROKEN_NODE = """
import os, socket, time
from phs_mpi import Experiment, Grid

def target(i):
    time.sleep(0.2)
    if socket.gethostname() == "n2":
        os._exit(7)
    return i

experiment = Experiment(target, {"i": int}, isolate=True, retries=1)
experiment.add(i=Grid(list(range(60))))
"""


def test_what_fails_on_a_broken_node_is_done_on_the_other_one(two_nodes, tmp_path):
    folder = Folder(two_nodes, tmp_path)
    (tmp_path / "experiment.py").write_text(BROKEN_NODE)
    job = folder.submit(
        """\
        #!/bin/bash
        #SBATCH --nodes=2
        #SBATCH --ntasks-per-node=3
        srun python -m phs_mpi experiment.py
        """
    )
    two_nodes.wait(job)
    rows = folder.rows()
    assert len(rows) == 60
    assert (rows["status"] == Status.DONE).all(), folder.report(job)
    assert set(rows["host"]) == {b"n1"}
    assert "host n2 gets nothing more" in folder.said()
