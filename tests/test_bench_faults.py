"""The fault campaign: it sees what it is there to see, and a few runs of it are good."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from results import evaluate, make_experiment, make_outcome, make_proposal, resume

from phs_mpi.log import EntryKind
from phs_mpi.store import open_store

pytestmark = pytest.mark.slow

BENCH = Path(__file__).resolve().parent.parent / "scripts" / "bench"


@pytest.fixture
def check(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import faults_check

    return faults_check


def test_what_the_targets_log_says(check):
    found = check.calls(
        ["start 0 1", "start 1 2", f"end 0 1 {(0.5).hex()}", "start 2 1", "start 3 2"]
    )
    assert found.started == [0, 1, 2, 3]
    assert found.results == {0: 0.5}
    # 1 has failed: its worker went on without an end. 2 and 3 were running.
    assert found.left == {0, 1}


def test_losses_are_seen(check, tmp_path):
    path = tmp_path / "a.h5"
    assert check.rows(path) == {}
    resume(path, make_experiment())
    written = evaluate(path, make_experiment(), range(8), failed=[3])
    then = check.rows(path)
    assert sorted(then) == list(range(8))
    left = check.Calls(left=set(range(8)))
    assert check.lost(left, then, then) == []
    # A row that was committed by the target's log, and is not there.
    assert check.lost(check.Calls(left={9}), then, then) == [9]
    # One that is another at the end, and one that is torn.
    proposal = make_proposal(make_experiment().table(), 5)
    with open_store(path, make_experiment().table()) as store:
        store.commit(proposal, make_outcome(proposal, worker=2, host="another"))
    raw = path.read_bytes()
    path.write_bytes(raw.replace(then[6], then[6][:-1] + b"\0"))
    assert check.lost(left, then, check.rows(path)) == [5, 6]
    assert check.evaluated_again(then, check.Calls(started=[8, 2])) == [2]
    path.write_bytes(raw)
    returned = {i: outcome.result for i, (_, outcome) in written.items() if i != 3}
    assert check.contradicting(path, returned, {3, *range(8, 20)}) == list(range(8, 20))
    assert check.contradicting(path, returned | {1: 7.0}, set())[:2] == [1, 3]


def test_what_counts_twice_is_seen(check, tmp_path):
    path = tmp_path / "a.h5"
    resume(path, make_experiment())
    evaluate(path, make_experiment(), [4])
    assert check.completed_twice(path) == []
    kinds = [EntryKind.LOST, EntryKind.COMPLETED, EntryKind.STARTED, EntryKind.COMPLETED]
    with open_store(path, make_experiment().table()) as store:
        store.append_log(kinds, [4] * 4)
    assert check.completed_twice(path) == [4]


def test_a_small_campaign_is_good_and_goes_on_where_it_stopped(launch):
    kinds = "kill-worker,kill-rank-0,kill-mpirun,kill-child,segfaults,prints,disk-full"
    arguments = [str(BENCH / "faults.py"), "--ranks", "4", "--sets", "24", "--kinds", kinds]
    done = launch(None, *arguments, "--runs", "2", timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    before = (launch.folder / "faults.jsonl").read_text()
    done = launch(None, *arguments, "--runs", "7", timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (launch.folder / "faults.jsonl").read_text()
    assert text.startswith(before)
    records = [json.loads(line) for line in text.splitlines()]
    assert len(records) == 7
    for record in records:
        assert not record["bad"], record
        assert record["statuses"][-1] == 0
    assert sum(record["completed"] for record in records) > 24
    assert f"| all | {sum(r['seconds'] is not None for r in records)} |" in done.stdout
