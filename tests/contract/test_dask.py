"""What only a Dask cluster can do: workers that come, go and die, other disks, a lost scheduler."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import h5py
import pytest
from conftest import DaskCluster

from phs_mpi.log import Status


@pytest.fixture
def cluster(tmp_path_factory):
    """A cluster of the test's own, with no worker yet."""
    cluster = DaskCluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.close()


def rows(launch):
    with h5py.File(launch.folder / "experiment.h5", locking=False) as file:
        return file["evaluations"][...]


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


LOGGED = """
import os, time
from phs_mpi import Bayesian, Experiment, Grid, Random

def note(name, text):
    descriptor = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (str(text) + "\\n").encode())
    os.close(descriptor)

def target(n):
    note("began", f"{n} {os.getpid()}")
    time.sleep(0.2)
    note("ended", n)
    return n

experiment = Experiment(target, {"n": int}, seed=1)
experiment.add(n=Grid(list(range(40))))
"""


def test_workers_come_and_go(launch, cluster):
    """One more joins, one is killed: what that one ran is run again, and nothing else."""
    first = cluster.add_worker()
    launch.write("experiment.py", LOGGED)
    run = launch.start(None, "-m", "phs_mpi", "experiment.py", "--scheduler", cluster.address)
    began, ended = launch.folder / "began", launch.folder / "ended"
    wait_until(lambda: len(lines(ended)) >= 3)
    cluster.workers += [cluster.add_worker(), cluster.add_worker()]
    wait_until(lambda: len({line.split()[1] for line in lines(began)}) == 3)
    wait_until(lambda: lines(began)[-1].split()[1] == str(first.pid))
    os.kill(first.pid, signal.SIGKILL)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 0, out + err
    assert "is gone; what it ran is run again" in err
    assert (rows(launch)["status"] == Status.DONE).all()
    done = [int(line) for line in lines(ended)]
    assert sorted(done) == list(range(40))
    assert len(lines(began)) == 41
    assert len(set(rows(launch)["worker"])) == 3


def test_a_set_that_kills_workers_is_given_up(launch, cluster):
    cluster.workers.append(cluster.add_worker("--nanny"))
    launch.write(
        "experiment.py",
        LOGGED.replace("time.sleep(0.2)", "os._exit(3) if n == 2 else None").replace("40", "6"),
    )
    done = launch.phs(None, "experiment.py", "--scheduler", cluster.address)
    assert done.returncode == 0, done.stderr
    found = rows(launch)
    assert list(found["status"]) == [Status.DONE] * 2 + [Status.FAILED] + [Status.DONE] * 3
    assert b"the Dask worker died during this evaluation, 3 times" in found["error"][2]
    assert len([line for line in lines(launch.folder / "began") if line[0] == "2"]) == 3


def test_a_killed_scheduler_is_one_message_and_the_same_command_goes_on(launch, cluster):
    cluster.workers += [cluster.add_worker(), cluster.add_worker()]
    launch.write("experiment.py", LOGGED)
    run = launch.start(None, "-m", "phs_mpi", "experiment.py", "--scheduler", cluster.address)
    ended = launch.folder / "ended"
    wait_until(lambda: len(lines(ended)) >= 8)
    os.kill(cluster.scheduler.pid, signal.SIGKILL)
    out, err = run.communicate(timeout=30)
    assert run.returncode == 70, out + err
    assert f"the Dask scheduler at {cluster.address} is gone" in err
    assert "Traceback" not in err
    kept = int((rows(launch)["status"] == Status.DONE).sum())
    assert kept >= 6
    cluster.close()  # workers finish what they have, or not: they are killed
    before = len(lines(launch.folder / "began"))
    done = launch.phs(None, "experiment.py", "--backend", "processes", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert (rows(launch)["status"] == Status.DONE).all()
    assert len(lines(launch.folder / "began")) == before + 40 - kept


UNSHARED = """
import os
import phs_mpi
from phs_mpi import Bayesian, Experiment, Random
from tools.shapes import square

def target(x, y):
    import helper  # only now
    print("printed", x)
    (phs_mpi.current().folder / "kept.txt").write_text("mine")
    assert not os.path.exists(PLACE), "this disk is shared"
    assert os.path.exists("helper.py"), os.listdir()
    return square(x) + helper.OFFSET + y

PLACE = "%s"
experiment = Experiment(target, {"x": float, "y": float}, seed=1)
experiment.add(8, x=Random(-1, 1), y=0)
experiment.add(6, x=Bayesian(-1, 1), y=Bayesian(0, 1))
"""


def may_mount() -> bool:
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.skipif(not may_mount(), reason="only root can give workers a file system apart")
def test_modules_and_files_cross_where_no_disk_is_shared(launch, cluster, tmp_path):
    """Workers see an empty folder where the client's is: a mount namespace of their own."""
    inner = tmp_path / "home"
    inner.mkdir()
    launch.folder = inner
    cluster.workers.append(cluster.add_worker_apart(inner))
    (inner / "tools").mkdir()
    (inner / "tools" / "__init__.py").touch()
    (inner / "tools" / "shapes.py").write_text("from .powers import power\nsquare = power(2)\n")
    (inner / "tools" / "powers.py").write_text("def power(k):\n    return lambda x: x**k\n")
    (inner / "helper.py").write_text("OFFSET = 1\n")
    launch.write("experiment.py", UNSHARED % (inner / "helper.py"))
    done = launch.phs(None, "experiment.py", "--scheduler", cluster.address)
    assert done.returncode == 0, done.stderr
    found = rows(launch)
    assert (found["status"] == Status.DONE).all(), found["error"]
    values = found["values"]
    assert (abs(found["result"] - values["x"] ** 2 - 1 - values["y"]) < 1e-12).all()
    for index in range(14):
        folder = inner / "experiment.evaluations" / f"{index:06d}"
        assert (folder / "kept.txt").read_text() == "mine"
        assert (folder / "stdout.txt").read_text() == f"printed {values['x'][index]}\n"
    # Changed modules are seen by the same workers.
    (inner / "helper.py").write_text("OFFSET = 2\n")
    (inner / "experiment.h5").unlink()
    done = launch.phs(None, "experiment.py", "--scheduler", cluster.address)
    assert done.returncode == 0, done.stderr
    assert (abs(rows(launch)["result"][:8] - values["x"][:8] ** 2 - 2) < 1e-12).all()


def test_changed_modules_are_seen_by_the_same_workers(launch, dask_cluster):
    launch.write("helper.py", "OFFSET = 1\n")
    launch.write(
        "experiment.py",
        """
        import helper
        from phs_mpi import Experiment, Grid

        def target(n):
            return n + helper.OFFSET

        experiment = Experiment(target, {"n": int})
        experiment.add(n=Grid([0, 1, 2, 3, 4, 5]))
        """,
    )
    for offset in (1, 2):
        launch.write("helper.py", f"OFFSET = {offset}\n")
        output = f"{offset}.h5"
        done = launch.phs(None, "experiment.py", "--scheduler", dask_cluster.address, "-o", output)
        assert done.returncode == 0, done.stderr
        with h5py.File(launch.folder / output, locking=False) as file:
            assert list(file["evaluations"]["result"]) == [n + offset for n in range(6)]


def test_a_local_cluster_when_no_scheduler_is_given(launch):
    launch.write("experiment.py", LOGGED.replace("sleep(0.2)", "sleep(0.01)"))
    done = launch.phs(None, "experiment.py", "--backend", "dask", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert sorted(map(int, lines(launch.folder / "ended"))) == list(range(40))


def test_what_a_local_clusters_workers_log_while_it_is_closed_is_not_shown(launch):
    # As a heartbeat does that the end cuts short: by chance, and with a traceback.
    launch.write(
        "preload.py",
        """
        import logging

        def dask_setup(worker):
            logging.getLogger("distributed.worker").error("heard at the start")

        def dask_teardown(worker):
            open("torn-down", "w").close()
            logging.getLogger("distributed.worker").error("heard at the end")
        """,
    )
    launch.write("experiment.py", LOGGED.replace("sleep(0.2)", "sleep(0.01)"))
    preload = {"DASK_DISTRIBUTED__WORKER__PRELOAD": str(launch.folder / "preload.py")}
    done = launch.phs(None, "experiment.py", "--backend", "dask", "--workers", "2", **preload)
    assert done.returncode == 0, done.stderr
    assert (launch.folder / "torn-down").exists()
    assert "heard at the start" in done.stderr
    assert "heard at the end" not in done.stderr


@pytest.mark.parametrize("local", [True, False])
def test_an_interrupt_drains_and_a_second_one_stops(launch, dask_cluster, local):
    where = ("--backend", "dask", "--workers", "2")
    if not local:
        where = ("--scheduler", dask_cluster.address)
    launch.write("experiment.py", LOGGED)
    arguments = ("-m", "phs_mpi", "experiment.py", *where)
    run = launch.start(None, *arguments)
    began, ended = launch.folder / "began", launch.folder / "ended"
    wait_until(lambda: len(lines(ended)) >= 4)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to everybody
    out, err = run.communicate(timeout=30)
    assert run.returncode == 3, out + err
    assert "Traceback" not in err
    kept = len(lines(ended))
    assert kept == len(lines(began)) == int((rows(launch)["status"] == Status.DONE).sum()) < 40
    launch.write("experiment.py", LOGGED.replace("sleep(0.2)", "sleep(20)"))
    run = launch.start(None, *arguments)
    wait_until(lambda: len(lines(began)) > kept)
    run.send_signal(signal.SIGINT)
    time.sleep(0.3)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=20)
    assert run.returncode == 130, out + err
    assert "Traceback" not in err
    assert int((rows(launch)["status"] == Status.DONE).sum()) == kept


# -- bad input -----------------------------------------------------------------------------


def refused(launch, *arguments, **env):
    launch.write("experiment.py", LOGGED)
    begun = time.monotonic()
    done = launch.phs(None, "experiment.py", "--backend", "dask", *arguments, **env)
    assert done.returncode == 2, done.stdout + done.stderr
    assert time.monotonic() - begun < 30
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_an_unreachable_scheduler(launch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    message = refused(launch, "--scheduler", address, "--dask-timeout", "2")
    assert f"no Dask scheduler answers at {address} (waited 2 s)" in message


def test_something_else_that_listens(launch):
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        address = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        message = refused(launch, "--scheduler", address, "--dask-timeout", "2")
    assert f"no Dask scheduler answers at {address} (waited 2 s)" in message


@pytest.mark.parametrize("address", ["foo://host:1", "tcp://host", "nonsense", "", ":"])
def test_no_address(launch, address):
    message = refused(launch, "--scheduler", address, "--dask-timeout", "1")
    assert "no Dask scheduler answers" in message


def test_scheduler_files(launch):
    message = refused(launch, "--scheduler-file", "s.json", "--dask-timeout", "1")
    assert "there is no scheduler file s.json (waited 1 s)" in message
    launch.write("s.json", "{}")
    message = refused(launch, "--scheduler-file", "s.json", "--dask-timeout", "1")
    assert "s.json is no scheduler file of Dask" in message


def test_no_workers(launch, cluster):
    message = refused(launch, "--scheduler", cluster.address, "--dask-timeout", "2")
    assert f"no worker has joined the Dask scheduler at {cluster.address} within 2 s" in message


def test_a_worker_of_another_version(launch, cluster, tmp_path):
    """A worker whose phs_mpi says that it is another one."""
    (tmp_path / "sitecustomize.py").write_text("import phs_mpi\nphs_mpi.__version__ = '0.0.9'\n")
    cluster.workers.append(cluster.add_worker(PYTHONPATH=str(tmp_path)))
    message = refused(launch, "--scheduler", cluster.address)
    assert "it has phs_mpi 0.0.9, and here is" in message
    assert "install the same versions" in message


def test_a_worker_without_the_package(launch, cluster, tmp_path):
    hidden = "import sys\nsys.modules['phs_mpi'] = None\n"
    (tmp_path / "sitecustomize.py").write_text(hidden)
    cluster.workers.append(cluster.add_worker(PYTHONPATH=str(tmp_path)))
    assert "it has no phs_mpi" in refused(launch, "--scheduler", cluster.address)


def test_dask_is_not_installed(launch, tmp_path):
    hidden = "import sys\nsys.modules['distributed'] = None\n"
    (tmp_path / "sitecustomize.py").write_text(hidden)
    message = refused(launch, PYTHONPATH=str(tmp_path))
    assert "needs the package 'distributed', which is not installed" in message
    assert "pip install 'phs-mpi[dask]'" in message


def test_no_worker_is_no_number_of_workers(launch):
    assert "0 is no number of workers" in refused(launch, "--workers", "0")


def test_an_experiment_that_workers_cannot_load(launch, cluster):
    cluster.workers.append(cluster.add_worker(MARK="worker"))
    broken = "import os\nif os.environ.get('MARK'):\n    import nowhere_to_be_found\n"
    launch.write("experiment.py", broken + LOGGED)
    done = launch.phs(None, "experiment.py", "--scheduler", cluster.address)
    assert done.returncode == 2, done.stderr
    assert "cannot load the experiment" in done.stderr
    assert "nowhere_to_be_found" in done.stderr
    assert "Traceback" not in done.stderr
