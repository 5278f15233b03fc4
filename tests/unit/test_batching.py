"""When rank 0 broadcasts what it has ordered; passes without mpi4py."""

from __future__ import annotations

import pytest

from phs_mpi.backends.mpi.batching import (
    FULL_ENTRIES,
    REST,
    UNSENT_DOUBLES,
    Batching,
    announce_seconds,
)


def test_entries_that_come_in_quick_succession_share_a_broadcast():
    batching = Batching(0.01)
    assert batching.due(5.0, 1)
    batching.announced(5.0, took=1e-5)
    assert not batching.due(5.009, FULL_ENTRIES - 1)
    assert batching.due(5.0101, 1)


def test_nothing_is_due_if_nothing_waits():
    assert not Batching(0.01).due(5.0, 0)


def test_a_full_batch_does_not_wait():
    batching = Batching(0.01)
    batching.announced(5.0, took=1e-5)
    assert batching.due(5.0001, FULL_ENTRIES)


def test_broadcasts_that_take_long_leave_time_for_messages():
    batching = Batching(0.01)
    batching.announced(5.0, took=0.05)
    rest = 0.05 * REST
    for waiting in (1, FULL_ENTRIES, 10 * FULL_ENTRIES):
        assert not batching.due(5.0 + 0.99 * rest, waiting)
        assert batching.due(5.0 + 1.01 * rest, waiting)
    assert batching.pause() == pytest.approx(rest)


@pytest.mark.parametrize("which", [0, 1])
def test_broadcasts_that_are_not_taken_make_the_next_ones_rarer(which):
    batching = Batching(0.01)
    batching.announced(5.0, took=1e-5)
    unsent = [0, 0]
    unsent[which] = 2 * UNSENT_DOUBLES[which]
    assert not batching.due(5.0399, FULL_ENTRIES, unsent)
    assert batching.due(5.0401, 1, unsent)


def test_more_ranks_have_fewer_broadcasts():
    seconds = [announce_seconds(ranks) for ranks in (2, 10, 64, 200, 1000)]
    assert seconds == sorted(seconds)
    assert seconds[0] == 1e-3
