"""Polling pace."""

import pytest

from phs_mpi.backends.mpi.waiting import PAUSE_SHARE, Backoff, Rhythm, longest_pause, wait_until


def test_pause_grows_to_the_longest_and_falls_back(monkeypatch):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    backoff = Backoff(longest=1e-3, shortest=1e-4, spins=2)
    for _ in range(8):
        backoff.pause()
    assert slept == [1e-4, 2e-4, 4e-4, 8e-4, 1e-3, 1e-3]
    backoff.reset()
    for _ in range(3):
        backoff.pause()
    assert slept[-1] == 1e-4


def test_wait_until_works_on_until_the_condition_holds():
    done = []
    assert wait_until(lambda: len(done) == 5, lambda: not done.append(1), Backoff())
    assert len(done) == 5


def test_wait_until_gives_up():
    assert not wait_until(lambda: False, lambda: False, Backoff(1e-3), seconds=0.02)


def test_ranks_that_share_cores_look_less_often():
    assert longest_pause(4, 8) == longest_pause(1, 64) == 2e-3
    assert longest_pause(8, 2) == 8e-3
    assert longest_pause(128, 2) == 20e-3


def test_rank_0_looks_more_often_where_evaluations_are_short():
    rhythm = Rhythm(longest=2e-3, shortest=2e-4)
    assert rhythm.pause(3) == 2e-3
    for ends in range(100):  # three workers, 0.1 s an evaluation
        rhythm.ended(ends * 0.1 / 3)
    assert rhythm.pause(3) == pytest.approx(PAUSE_SHARE * 0.1)
    for ends in range(100):
        rhythm.ended(10 + ends * 1e-5)
    assert rhythm.pause(3) == 2e-4
    for ends in range(100):
        rhythm.ended(20 + ends * 1.0)
    assert rhythm.pause(3) == 2e-3
