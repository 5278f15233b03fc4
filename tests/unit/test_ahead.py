"""What workers get beyond the set that they evaluate; passes without mpi4py."""

from __future__ import annotations

from phs_mpi.backends.mpi.ahead import LEVELS, Ahead
from phs_mpi.events import Finished, Ready, Start
from phs_mpi.schedule import Schedule

TINY, SHORT = LEVELS


def finish(schedule, ahead, worker, seconds, failed=False):
    """A worker finishes what it runs; returns the indices that it is sent."""
    index = schedule.running[worker]
    instructions = schedule.handle(Finished(worker, index))
    instructions += ahead.after(worker, seconds, failed)
    schedule.check()
    return [i.index for i in instructions if isinstance(i, Start)]


def begin(sets, workers=1):
    schedule = Schedule(range(sets), sets, lambda index: False)
    for worker in range(workers):
        schedule.handle(Ready(worker))
    return schedule, Ahead(schedule, workers)


def test_one_ahead_after_some_short_ones_and_then_as_many_as_it_finishes():
    schedule, ahead = begin(100)
    sent = [finish(schedule, ahead, 0, 0.5) for _ in range(8)]
    first = SHORT.in_a_row - 1
    assert sent[:first] == [[n + 1] for n in range(first)]
    assert sent[first] == [first + 1, first + 2]
    assert sent[first + 1 :] == [[n] for n in range(first + 3, 10)]
    assert len(schedule.ahead[0]) == SHORT.most - 1


def test_none_after_a_long_one_or_a_failed_one():
    for seconds, failed in ((SHORT.seconds + 1, False), (0.5, True)):
        schedule, ahead = begin(100)
        for _ in range(8):
            finish(schedule, ahead, 0, 0.5)
        assert finish(schedule, ahead, 0, seconds, failed) == []
        assert not schedule.ahead
        # Then one by one, until that many have been short again.
        sent = [len(finish(schedule, ahead, 0, 0.5)) for _ in range(SHORT.in_a_row)]
        assert sent == [1] * (SHORT.in_a_row - 1) + [2]


def test_many_of_a_millisecond_several_at_a_time():
    schedule, ahead = begin(1000)
    sent = [len(finish(schedule, ahead, 0, 1e-4)) for _ in range(TINY.in_a_row + 40)]
    assert sent[TINY.in_a_row - 1] == TINY.most - SHORT.most + 1
    after = sent[TINY.in_a_row :]
    assert set(after) == {0, TINY.most // 2}
    assert len(schedule.ahead[0]) >= TINY.most // 2


def test_the_last_ones_go_one_by_one():
    workers = 3
    schedule, ahead = begin(60, workers)
    left = []
    while schedule.running:
        worker = next(iter(schedule.running))
        finish(schedule, ahead, worker, 0.5)
        if schedule.ahead:
            left.append(schedule.drawn_left)
    assert schedule.complete
    # What is handed out ahead leaves as many again for every worker.
    assert min(left) >= workers * SHORT.most - workers
