"""phs_mpi.run: from scripts, under mpirun, and in a notebook's kernel."""

from __future__ import annotations

import os
import queue
import signal
import time
from pathlib import Path

import pytest

import phs_mpi
from phs_mpi.errors import PhsError
from phs_mpi.log import Status

SCRIPT = """
import os, sys
import phs_mpi
from phs_mpi import Bayesian, Choice, Experiment, Random
import helper

SHIFT = 0.25

class Model:
    def loss(self, x):
        return helper.square(x - SHIFT)

def target(x, kind):
    note = os.open("calls.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(note, b"called\\n")
    os.close(note)
    if kind == "bad":
        raise ValueError("a bad one")
    return {"result": Model().loss(x), "steps": 3}

experiment = Experiment(target, {"x": float, "kind": ["good", "bad"]}, seed=3, name="mine")
experiment.add(8, x=Random(-1, 1), kind=Choice(["good", "bad"]))
experiment.add(4, x=Bayesian(-1, 1), kind="good")

# No `if __name__ == "__main__":`, as many people write it.
results = phs_mpi.run(experiment, OPTIONS)
assert results.complete and len(results) == 12, results
assert results.best.result == min(e.result for e in results if e.status.name == "DONE")
assert results.best.values["kind"] == "good" and results.best.metrics == {"steps": 3.0}
bad = [e for e in results if e.values["kind"] == "bad"]
assert bad and all("a bad one" in e.error for e in bad)
# In one write: ranks print at the same time.
sys.stdout.write(f"finished with {len(results[:3])} of {results}\\n")
"""


@pytest.mark.parametrize(
    ("options", "ranks"),
    [
        ("", None),
        ("backend='processes', workers=2, output='mine.h5'", None),
        ("backend='dask', workers=2", None),
        ("backend='dask', scheduler=ADDRESS", None),
        ("quiet=True", 3),
    ],
)
def test_a_script(launch, options, ranks, dask_cluster):
    launch.write("helper.py", "def square(x):\n    return x * x\n")
    script = SCRIPT.replace("OPTIONS", options.replace("ADDRESS", repr(dask_cluster.address)))
    launch.write("script.py", script)
    done = launch(ranks, "script.py")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.count("finished with 3 of <Results of mine.h5: 12 of 12") == (ranks or 1)
    assert len((launch.folder / "calls.txt").read_text().splitlines()) == 12
    assert "backend" not in done.stderr or "quiet" not in options
    # Once more: it returns what is there.
    done = launch(ranks, "script.py")
    assert done.returncode == 0, done.stderr
    assert len((launch.folder / "calls.txt").read_text().splitlines()) == 12


@pytest.mark.parametrize("how", ["closure", "global", "object"])
def test_what_cannot_be_pickled_is_named(launch, how):
    define = {
        "closure": "def make():\n    gate = threading.Lock()\n    def target(x):\n"
        "        with gate: return x\n    return target\ntarget = make()",
        "global": "gate = threading.Lock()\ndef target(x):\n    with gate: return x",
        "object": "class T:\n    def __init__(self): self.gate = threading.Lock()\n"
        "    def __call__(self, x): return x\ntarget = T()",
    }[how]
    launch.write("experiment.py", "")
    (launch.folder / "script.py").write_text(f"""
import threading
import phs_mpi
from phs_mpi import Experiment, Random
{define}
experiment = Experiment(target, {{"x": float}})
experiment.add(3, x=Random(0, 1))
try:
    phs_mpi.run(experiment, backend="processes", workers=2, output="r.h5")
except phs_mpi.PhsError as error:
    print(error)
""")
    done = launch(None, "script.py")
    assert done.returncode == 0, done.stderr
    name = "T.gate" if how == "object" else "gate"
    assert f"'{name}' (lock), which the target" in done.stdout
    assert "make it inside the target" in done.stdout


def test_a_file_and_bad_arguments(tmp_path, monkeypatch, modules_restored):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiment.py").write_text(
        "from phs_mpi import Experiment, Grid\n"
        "def target(n): return n\n"
        "experiment = Experiment(target, {'n': int}, capture=False)\n"
        "experiment.add(n=Grid([3, 1, 2]))\n"
    )
    results = phs_mpi.run("experiment.py", quiet=True)
    assert [e.result for e in results] == [3, 1, 2]
    assert results[-1].values == {"n": 2}
    assert results[0].status == Status.DONE
    assert results.best.index == 1
    assert results.path.name == "experiment.h5"
    with pytest.raises(PhsError, match="0 is no number of workers"):
        phs_mpi.run("experiment.py", workers=0)
    with pytest.raises(PhsError, match="is no experiment"):
        phs_mpi.run(print)
    with pytest.raises(PhsError, match="there is no backend 'threads'"):
        phs_mpi.run("experiment.py", backend="threads")
    empty = phs_mpi.Experiment(lambda x: x, {"x": float})
    with pytest.raises(PhsError, match="no parameter sets"):
        phs_mpi.run(empty)


def test_an_error_under_mpirun_is_said_once(launch):
    launch.write(
        "script.py",
        """
        import phs_mpi
        from phs_mpi import Experiment, Random

        experiment = Experiment(lambda x: x, {"x": float})
        experiment.add(3, x=Random(0, 1))
        phs_mpi.run(experiment, backend="processes")
        """,
    )
    done = launch(3, "script.py")
    assert done.returncode != 0
    assert done.stderr.count("3 ranks were launched for the backend 'processes'") == 1


def test_the_first_rank_has_the_time_to_say_it(launch):
    # It is the last one here, and mpirun ends all ranks when one of them has ended.
    launch.write(
        "late.py",
        """
        import os, sys, time
        if os.environ["OMPI_COMM_WORLD_RANK"] == "0":
            time.sleep(1.5)
        from phs_mpi.cli import main
        sys.exit(main(sys.argv[1:]))
        """,
    )
    for arguments in (["--nonsense"], ["late.py", "--backend", "processes"]):
        done = launch(3, "late.py", *arguments, timeout=30)
        assert done.returncode == 2
        assert done.stderr.count("error: ") >= 1, done.stderr
        said = "arguments are required" if len(arguments) == 1 else "3 ranks were launched"
        assert done.stderr.count(said) == 1, done.stderr


# -- a notebook ------------------------------------------------------------------------------


class Kernel:
    """A real kernel, as a notebook has it."""

    def __init__(self, folder):
        from jupyter_client.manager import start_new_kernel

        self.manager, self.client = start_new_kernel(cwd=str(folder))

    def run(self, code: str, then=None, timeout: float = 60):
        """Run a cell; `then` is called once its first output is there."""
        cell = self.client.execute(code)
        shown = ""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") != cell:
                continue
            content = message["content"]
            if message["msg_type"] == "stream":
                shown += content["text"]
                if then is not None and "evaluated" not in shown and "set/s" in shown:
                    then()
                    then = None
            elif message["msg_type"] == "error":
                shown += "\n".join(content["traceback"])
            elif message["msg_type"] in ("execute_result", "display_data"):
                shown += content["data"].get("text/plain", "")
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                return shown
        pytest.fail(f"the cell did not end in {timeout} s:\n{shown}")

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel(tmp_path):
    kernel = Kernel(tmp_path)
    yield kernel
    kernel.close()


DEFINED = """
import time, phs_mpi
from phs_mpi import Experiment, Random

def target(x):
    time.sleep({seconds})
    return x

experiment = Experiment(target, {{"x": float}}, seed=1)
experiment.add(60, x=Random(0, 1))
"""


@pytest.mark.parametrize(
    "backend",
    [
        "backend='serial'",
        "backend='processes', workers=2",
        "backend='dask', workers=2",
        "backend='dask', scheduler=ADDRESS",
    ],
)
def test_a_notebook_shows_progress_and_its_interrupt_drains(kernel, backend, dask_cluster):
    backend = backend.replace("ADDRESS", repr(dask_cluster.address))
    kernel.run(DEFINED.format(seconds=0.1))
    call = f"results = phs_mpi.run(experiment, {backend}, output='r.h5')"
    shown = kernel.run(call, then=kernel.manager.interrupt_kernel)
    assert "/60 [" in shown, shown  # the bar
    assert "stopping: running evaluations have 60 s to finish" in shown, shown
    assert "call run() again" in shown
    assert "Traceback" not in shown
    assert "Warning" not in shown
    state = kernel.run("print(results.complete, 0 < len(results) < 60)")
    assert state == "False True\n"
    kernel.run("kept = len(results)")
    kernel.run(DEFINED.format(seconds=0.001))
    shown = kernel.run(call + "; print(results.complete, len(results))")
    assert "going on with r.h5" in shown
    assert "True 60" in shown


# -- stopping --------------------------------------------------------------------------------

SLOW = """
import time
from phs_mpi import Experiment, Random

def target(x):
    open("began", "a").write("x")
    time.sleep(0.01 if x < 0.5 else 60)
    return x

experiment = Experiment(target, {"x": float}, seed=1)
experiment.add(20, x=Random(0, 1))
"""


@pytest.mark.parametrize("options", [("--workers", "2"), (), ("mpi",)])
def test_after_the_grace_time_it_stops(launch, options):
    launch.write("experiment.py", SLOW)
    ranks = 3 if options == ("mpi",) else None
    options = () if ranks else options
    run = launch.start(ranks, "-m", "phs_mpi", "experiment.py", "--grace", "1", *options)
    deadline = time.monotonic() + 30
    while not (launch.folder / "began").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)  # by now every worker sits in a long one
    if ranks:
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text()
        os.kill(int(children.split()[0]), signal.SIGUSR1)
    else:
        run.send_signal(signal.SIGINT)
    begun = time.monotonic()
    out, err = run.communicate(timeout=30)
    assert time.monotonic() - begun < 20
    assert run.returncode == 3, out + err
    assert "running evaluations have 1 s to finish" in err
    assert "1 s are over: what still runs is left" in err
    assert "Traceback" not in err
