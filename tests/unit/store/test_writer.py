import math
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from results import evaluate, make_experiment, make_outcome, make_proposal, resume

from phs_mpi.errors import StoreError
from phs_mpi.experiment import Experiment
from phs_mpi.log import EntryKind, Outcome, Proposal, Source, Status
from phs_mpi.store import open_store, read, schema

TESTS = Path(__file__).parents[2]

# Commits rows for ever, telling about each on its standard output once it is written.
COMMITTER = """
import os, sys
sys.path.insert(0, sys.argv[2])
from results import *
experiment = make_experiment(500, 500)
table = experiment.table()
store = open_store(sys.argv[1], table)
for index in range(len(table)):
    proposal = make_proposal(table, index)
    store.commit(proposal, make_outcome(proposal))
    os.write(1, b"%d\\n" % index)
os.read(0, 1)
"""

# The largest file the process may write ends within the evaluations.
LIMITED = """
import resource, signal, sys
sys.path.insert(0, sys.argv[2])
from results import *
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
evaluate(sys.argv[1], make_experiment(500, 500), range(1000))
"""


def test_round_trip(tmp_path):
    path = tmp_path / "a.h5"
    experiment = make_experiment(metrics=["loss"])
    resume(path, experiment)
    table = experiment.table()
    proposal = make_proposal(table, 15)
    outcome = make_outcome(proposal, metrics={"more": 2.0, "loss": 0.5}, host="ü" * 40)
    with open_store(path, table) as store:
        store.commit(proposal, outcome)
    snapshot = read(path, verify=True)
    assert np.flatnonzero(snapshot.done).tolist() == [15]
    assert snapshot.values(15) == proposal.values
    assert snapshot.metrics(15) == {"loss": 0.5, "more": 2.0}
    for name in ("result", "worker", "start", "end", "proposing", "waiting", "exchanging"):
        assert snapshot.columns[name][15] == getattr(outcome, name)
    for name in ("source", "log_length", "mean", "std", "acquisition"):
        assert snapshot.columns[name][15] == getattr(proposal, name)
    assert snapshot.rows([15])["host"][0].decode() == "ü" * 32
    assert snapshot.error(15) == snapshot.traceback(15) == ""


def test_a_failure_keeps_its_reason_and_the_end_of_its_traceback(tmp_path):
    path = tmp_path / "a.h5"
    experiment = make_experiment()
    resume(path, experiment)
    proposal = make_proposal(experiment.table(), 3)
    traceback = "first line\n" + "é" * 3000 + "\nlast line"
    outcome = make_outcome(proposal, Status.TIMED_OUT, error="€" * 300, traceback=traceback)
    with open_store(path, experiment.table()) as store:
        store.commit(proposal, outcome)
    snapshot = read(path)
    assert snapshot.status[3] == Status.TIMED_OUT
    assert snapshot.error(3) == "€" * 66
    assert traceback.endswith(snapshot.traceback(3))
    assert len(snapshot.traceback(3).encode()) >= 1999
    assert math.isnan(snapshot.columns["result"][3])


def test_every_type_of_parameter_comes_back(tmp_path):
    values = {
        "a": 0.1,
        "b": -(2**63),
        "c": True,
        "d": "mañana",
        "e": "a * 2",
        "f": None,
        "g": np.float16(0.5),
        "h": np.complex128(1 + 2j),
        "i": np.datetime64("2024-02-29"),
        "j": np.timedelta64(90, "s"),
        "k": np.str_("ñ"),
        "l": np.bool_(False),
        "m": np.array((3, 0.5), dtype=[("n", "i4"), ("r", "f4")])[()],
        "n": np.longdouble("0.1"),
    }
    kinds = [float, int, bool, str, "expr", ["x", 1, None, 2.5]]
    kinds += [np.asarray(v).dtype for v in list(values.values())[6:]]
    path = tmp_path / "a.h5"
    experiment = Experiment(lambda **v: 0.0, dict(zip(values, kinds, strict=True)))
    experiment.add(2, **values)
    resume(path, experiment)
    with open_store(path, experiment.table()) as store:
        store.commit(Proposal(1, values, Source.EXPLICIT), Outcome(1, Status.DONE, 0.0))
    snapshot = read(path, verify=True)
    for index in (0, 1):  # as defined, as evaluated
        found = snapshot.values(index)
        assert found == values
        assert [type(v) for v in found.values()] == [type(v) for v in values.values()]
    assert resume(path, experiment).missing == [0]


def test_a_row_can_be_written_again(tmp_path):
    path = tmp_path / "a.h5"
    experiment = make_experiment()
    resume(path, experiment)
    evaluate(path, experiment, [2], failed=[2])
    evaluate(path, experiment, [2])
    snapshot = read(path, verify=True)
    assert snapshot.done[2]
    assert snapshot.traceback(2) == ""


def test_a_row_out_of_range(tmp_path):
    experiment = make_experiment()
    resume(tmp_path / "a.h5", experiment)
    proposal = make_proposal(experiment.table(), 0)
    with open_store(tmp_path / "a.h5", experiment.table()) as store:
        for index in (-1, 20):
            with pytest.raises(IndexError):
                store.commit(proposal, Outcome(index, Status.DONE, 1.0))


def test_the_log_goes_on_where_it_ended(tmp_path):
    path = tmp_path / "a.h5"
    experiment = make_experiment()
    resume(path, experiment)
    for batch in ([0], [1, 2, 3], [], [4]):
        with open_store(path, experiment.table()) as store:
            store.append_log([EntryKind.STARTED] * len(batch), batch)
    assert read(path).log["index"].tolist() == [0, 1, 2, 3, 4]


def test_a_full_log(tmp_path):
    path = tmp_path / "a.h5"
    experiment = make_experiment(3, 0)
    resume(path, experiment)
    capacity = schema.log_capacity(3)
    with open_store(path, experiment.table()) as store:
        store.append_log([EntryKind.STARTED] * capacity, [0] * capacity)
        with pytest.raises(StoreError, match=r"log is full .*start the same command again"):
            store.append_log([EntryKind.STARTED], [0])
    # What the message promises:
    resume(path, experiment)
    with open_store(path, experiment.table()) as store:
        store.append_log([EntryKind.STARTED], [0])
    assert len(read(path).log) == capacity + 2  # with the LOST entry of the resume


def test_another_table_is_refused(tmp_path):
    resume(tmp_path / "a.h5", make_experiment())
    with pytest.raises(StoreError, match="has other rows than this experiment"):
        open_store(tmp_path / "a.h5", make_experiment(kinds=["wider", "text"]).table())


@pytest.mark.parametrize("wait_for", [1, 200, 1000])
def test_kill_9_loses_no_committed_row(tmp_path, wait_for):
    path = tmp_path / "a.h5"
    resume(path, make_experiment(500, 500))
    process = subprocess.Popen(
        [sys.executable, "-c", COMMITTER, path, TESTS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,  # what communicate returns must be all that was not read before
    )
    told = [int(process.stdout.readline()) for _ in range(wait_for)]
    process.send_signal(signal.SIGKILL)
    told += map(int, process.communicate()[0].split())
    assert process.returncode == -signal.SIGKILL
    snapshot = read(path, verify=True)
    assert snapshot.done[told].all()
    assert np.count_nonzero(snapshot.done) <= len(told) + 1
    assert len(snapshot.torn) == 0


def test_a_write_that_fails_says_why_and_what_to_do(tmp_path):
    path = tmp_path / "a.h5"
    resume(path, make_experiment(500, 500))
    with h5py.File(path) as file:
        evaluations = file["evaluations"]
        limit = evaluations.id.get_offset() + 100 * evaluations.dtype.itemsize + 50
    # The log lies behind: it fails first, unless its writes are within the limit.
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, path, TESTS, str(limit)], capture_output=True, text=True
    )
    assert "StoreError" in run.stderr
    assert "File too large; raise the limit on file sizes" in run.stderr
    assert "what is finished is kept" in run.stderr
