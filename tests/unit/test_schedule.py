"""The self-scheduling state machine, driven by arbitrary sequences of events."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phs_mpi.deadline import Deadline
from phs_mpi.log import EntryKind
from phs_mpi.repeats import Contenders, Repeats
from phs_mpi.schedule import (
    Drain,
    Finished,
    InvalidEvent,
    Lost,
    More,
    Proposed,
    Ready,
    Returned,
    Schedule,
    Start,
    Stop,
    Wait,
)


def never(index):
    return False


@pytest.fixture
def schedule():
    """A schedule of ten drawn sets whose invariant is checked at the end of the test."""
    made = Schedule(range(10), 10, never)
    yield made
    made.check()


def test_indices_are_handed_out_in_order(schedule):
    assert schedule.handle(Ready(1)) == [Start(1, 0, 1)]
    assert schedule.handle(Ready(2)) == [Start(2, 1, 2)]
    assert schedule.handle(Finished(2, 1)) == [Start(2, 2, 4)]


def test_log_length_counts_every_ordered_entry(schedule):
    schedule.handle(Ready(1))
    schedule.handle(Finished(1, 0))
    entries = schedule.take_entries()
    assert [(e.kind, e.index) for e in entries] == [
        (EntryKind.STARTED, 0),
        (EntryKind.COMPLETED, 0),
        (EntryKind.STARTED, 1),
    ]
    assert schedule.log_length == 3
    assert not schedule.waiting_entries


def test_lost_worker_gives_its_index_back_first(schedule):
    schedule.handle(Ready(1))
    schedule.handle(Ready(2))
    assert schedule.handle(Lost(1)) == []
    assert schedule.handle(Finished(2, 1))[0].index == 0


def test_lost_worker_wakes_a_waiting_one():
    schedule = Schedule([0], 1, never)
    schedule.handle(Ready(1))
    assert schedule.handle(Ready(2)) == [Wait(2)]
    assert schedule.handle(Lost(1)) == [Start(2, 0, 3)]
    schedule.check()


def test_waiting_workers_are_stopped_when_all_is_finished():
    schedule = Schedule([0], 1, never)
    schedule.handle(Ready(1))
    assert schedule.handle(Ready(2)) == [Wait(2)]
    assert schedule.handle(Finished(1, 0)) == [Stop(1), Stop(2)]
    assert schedule.over


def test_draining_stops_everybody_but_the_running(schedule):
    schedule.handle(Ready(1))
    assert schedule.handle(Drain()) == []
    assert schedule.handle(Ready(2)) == [Stop(2)]
    assert not schedule.over
    assert schedule.handle(Finished(1, 0)) == [Stop(1)]
    assert schedule.over
    assert not schedule.complete


def test_a_worker_that_leaves_gets_nothing_and_wakes_others():
    schedule = Schedule(range(3), 3, lambda i: i == 2, wait_for_all=True)
    schedule.handle(Ready(1))
    schedule.handle(Ready(2))
    assert schedule.handle(Finished(1, 0, leaves=True)) == []
    assert schedule.handle(Finished(2, 1))[0].index == 2
    assert schedule.handle(Ready(1)) == [Wait(1)]
    assert schedule.handle(Finished(2, 2, leaves=True)) == [Stop(1)]
    assert schedule.over
    schedule.check()


@pytest.mark.parametrize("event", [Finished(1, 0), Proposed(1, 0)])
def test_event_of_an_idle_worker_is_refused(schedule, event):
    with pytest.raises(InvalidEvent, match=r"running \{\}"):
        schedule.handle(event)


def test_second_ready_is_refused(schedule):
    schedule.handle(Ready(1))
    with pytest.raises(InvalidEvent):
        schedule.handle(Ready(1))


def test_bayesian_start_enters_the_log_when_it_is_announced():
    schedule = Schedule(range(2), 2, lambda i: True)
    assert schedule.handle(Ready(1)) == [Start(1, 0, 0)]
    assert not schedule.waiting_entries
    schedule.handle(Proposed(1, 0))
    assert [e.kind for e in schedule.take_entries()] == [EntryKind.STARTED]


def test_wait_for_all_holds_back_a_bayesian_set_until_all_lower_ones_finished():
    schedule = Schedule(range(4), 4, lambda i: i == 2, wait_for_all=True)
    assert [schedule.handle(Ready(w))[0].index for w in (1, 2)] == [0, 1]
    # Set 3 is drawn: it may overtake the Bayesian set 2.
    assert schedule.handle(Ready(3))[0].index == 3
    assert schedule.handle(Finished(3, 3)) == [Wait(3)]
    assert schedule.handle(Finished(1, 0)) == [Wait(1)]
    started = schedule.handle(Finished(2, 1))
    assert [i.index for i in started if isinstance(i, Start)] == [2]
    schedule.check()


def test_only_the_missing_are_handed_out():
    schedule = Schedule([3, 7], 10, never, log_length=16)
    assert schedule.handle(Ready(1)) == [Start(1, 3, 17)]
    assert schedule.handle(Finished(1, 3)) == [Start(1, 7, 19)]
    assert schedule.handle(Finished(1, 7)) == [Stop(1)]


@settings(max_examples=200, deadline=None)
@given(
    sets=st.integers(1, 8),
    bayesian=st.sets(st.integers(0, 7)),
    workers=st.integers(1, 5),
    least=st.integers(1, 3),
    more=st.integers(0, 2),
    wait_for_all=st.booleans(),
    data=st.data(),
)
def test_whatever_happens_every_index_is_evaluated_once(
    sets, bayesian, workers, least, more, wait_for_all, data
):
    repeats = Repeats(least, least + more)
    is_bayesian = lambda index: index // repeats.most in bayesian  # noqa: E731
    required = np.flatnonzero(repeats.required(sets)).tolist()
    schedule = Schedule(
        required,
        sets * repeats.most,
        is_bayesian,
        wait_for_all=wait_for_all,
        repeats=repeats,
        contenders=Contenders(sets, repeats) if more else None,
    )
    running, announced, stopped, completed = {}, set(), set(), []
    lost = returned = 0
    order = []
    values = {}  # by set: what was announced first

    def carry_out(instructions, before):
        for instruction in instructions:
            if isinstance(instruction, Start):
                index, number = instruction.index, instruction.index // repeats.most
                assert instruction.worker not in running
                assert instruction.worker not in stopped
                # Several may start at once: each is promised the log up to its own start.
                if is_bayesian(index):
                    assert before <= instruction.log_length <= len(order)
                else:
                    last = order[instruction.log_length - 1]
                    assert (last.kind, last.index) == (EntryKind.STARTED, index)
                assert index not in running.values()
                assert index not in completed
                # One evaluation chooses the values of a set, all others know them.
                assert instruction.chosen == (repeats.most > 1 and number in values)
                proposing = [
                    w
                    for w, i in running.items()
                    if i // repeats.most == number and is_bayesian(i) and w not in announced
                ]
                if is_bayesian(index) and not instruction.chosen:
                    assert not proposing
                running[instruction.worker] = index
                if wait_for_all and is_bayesian(index) and not instruction.chosen:
                    lower = {i for i in required if i < number * repeats.most}
                    assert lower <= set(completed)
            elif isinstance(instruction, Stop):
                stopped.add(instruction.worker)

    def handle(event):
        before = len(order)
        instructions = schedule.handle(event)
        order.extend(schedule.take_entries())
        schedule.check()
        carry_out(instructions, before)

    def one_more(worker):
        """A set ahead of a worker: drawn, of lower index than any that is to be proposed."""
        for start in schedule.handle(More(worker)):
            assert start.worker == worker
            assert not is_bayesian(start.index)
            assert start.index not in completed
            assert start.index not in running.values()
            assert all(start.index not in indices for indices in ahead.values())
            ahead.setdefault(worker, []).append(start.index)
        assert not schedule.waiting_entries  # it is not pending before it begins
        schedule.check()

    ahead = {}
    for worker in range(workers):
        handle(Ready(worker))
    fresh = workers
    while not schedule.over:
        worker = data.draw(st.sampled_from(sorted(running)))
        index = running[worker]
        if data.draw(st.integers(0, 2)) == 0:
            one_more(worker)
        if is_bayesian(index) and worker not in announced:
            announced.add(worker)
            values.setdefault(index // repeats.most, worker)
            handle(Proposed(worker, index))
        elif lost < 3 and data.draw(st.integers(0, 9)) == 0:
            lost += 1
            del running[worker]
            ahead.pop(worker, None)
            announced.discard(worker)
            handle(Lost(worker))
            handle(Ready(fresh))  # a new worker comes in its place
            fresh += 1
        elif worker in ahead and returned < 3 and data.draw(st.integers(0, 3)) == 0:
            returned += 1
            indices = ahead.pop(worker)
            count = data.draw(st.integers(1, len(indices)))  # others are on their way to it
            if indices[count:]:
                ahead[worker] = indices[count:]
            handle(Returned(worker, indices[:count]))
        else:
            del running[worker]
            announced.discard(worker)
            completed.append(index)
            leaves = data.draw(st.integers(0, 9)) == 0
            following = ahead.pop(worker, [])
            if following and not leaves:
                running[worker] = following[0]
                if following[1:]:
                    ahead[worker] = following[1:]
            handle(Finished(worker, index, leaves, data.draw(st.floats(0, 1))))
            if following and not leaves and returned < 6 and data.draw(st.booleans()):
                returned += 1
                # As after a failure: of what it has it begins none; others may be on their way.
                count = data.draw(st.integers(1, len(following)))
                del running[worker]
                ahead.pop(worker, None)
                if following[count:]:
                    running[worker] = following[count]
                if following[count + 1 :]:
                    ahead[worker] = following[count + 1 :]
                handle(Returned(worker, following[:count]))
            if leaves:
                handle(Ready(fresh))
                fresh += 1
    assert len(completed) == len(set(completed)) == len(required) + schedule.extras
    assert set(required) <= set(completed)
    assert more or not schedule.extras
    assert not more or schedule.extras >= more  # at least the best gets all it may get


def test_repeats_of_a_bayesian_set_wait_for_its_values():
    schedule = Schedule(range(4), 4, lambda index: True, repeats=Repeats(2, 2))
    assert schedule.handle(Ready(1)) == [Start(1, 0, 0)]
    assert schedule.handle(Ready(2)) == [Start(2, 2, 0)]
    assert schedule.handle(Ready(3)) == [Wait(3)]
    assert schedule.handle(Proposed(1, 0)) == [Start(3, 1, 1, chosen=True)]
    # The one that proposed is lost: the values stay, and another takes them.
    schedule.handle(Proposed(3, 1))
    schedule.handle(Lost(1))
    assert schedule.handle(Ready(4)) == [Start(4, 0, 3, chosen=True)]
    # Lost before it has announced anything: the next one proposes anew.
    schedule.handle(Lost(2))
    assert schedule.handle(Ready(5)) == [Start(5, 2, 3)]
    schedule.check()


def test_values_of_an_earlier_run_are_taken_over():
    schedule = Schedule(
        [1, 2, 3], 4, lambda index: True, log_length=2, repeats=Repeats(2, 2), chosen=[0]
    )
    assert schedule.handle(Ready(1)) == [Start(1, 1, 2, chosen=True)]
    assert schedule.handle(Ready(2)) == [Start(2, 2, 2)]
    assert schedule.handle(Ready(3)) == [Wait(3)]


class TestAhead:
    """Sets that a worker has while it evaluates another."""

    def test_it_goes_on_with_them_in_order(self, schedule):
        schedule.handle(Ready(1))
        assert schedule.handle(More(1)) == [Start(1, 1, 1, ahead=True)]
        assert schedule.handle(More(1)) == [Start(1, 2, 1, ahead=True)]
        schedule.take_entries()
        assert schedule.handle(Finished(1, 0)) == []
        assert [(e.kind, e.index) for e in schedule.take_entries()] == [
            (EntryKind.COMPLETED, 0),
            (EntryKind.STARTED, 1),
        ]
        assert schedule.running == {1: 1}
        assert list(schedule.ahead[1]) == [2]

    def test_those_of_a_lost_worker_are_the_next(self, schedule):
        schedule.handle(Ready(1))
        schedule.handle(More(1))
        schedule.handle(Ready(2))
        schedule.handle(Lost(1))
        assert schedule.handle(Finished(2, 2))[0].index == 0
        assert schedule.handle(More(2))[0].index == 1

    def test_what_is_given_back_goes_to_the_next_that_asks(self, schedule):
        schedule.handle(Ready(1))
        schedule.handle(More(1))
        schedule.handle(Ready(2))
        assert schedule.handle(Returned(1, [1])) == []
        assert schedule.handle(Finished(2, 2))[0].index == 1

    def test_a_worker_that_goes_on_with_nothing_gets_the_next(self, schedule):
        schedule.handle(Ready(1))
        schedule.handle(More(1))
        schedule.handle(More(1))
        assert schedule.handle(Finished(1, 0)) == []
        schedule.take_entries()
        assert schedule.handle(Returned(1, [1, 2])) == [Start(1, 1, 5)]
        assert [(e.kind, e.index) for e in schedule.take_entries()] == [
            (EntryKind.LOST, 1),
            (EntryKind.STARTED, 1),
        ]

    def test_it_gives_back_what_it_has_and_goes_on_with_what_is_on_its_way(self, schedule):
        schedule.handle(Ready(1))
        for _ in range(3):
            schedule.handle(More(1))
        schedule.handle(Finished(1, 0))
        assert schedule.handle(Returned(1, [1, 2])) == []
        assert schedule.running == {1: 3}
        assert not schedule.ahead
        assert schedule.handle(Ready(2))[0].index == 1

    def test_what_it_does_not_have_is_refused(self, schedule):
        schedule.handle(Ready(1))
        schedule.handle(More(1))
        schedule.handle(Ready(2))
        with pytest.raises(InvalidEvent):
            schedule.handle(Returned(2, [5]))
        for indices in ([5], [1, 3], [0, 2]):
            with pytest.raises(InvalidEvent):
                schedule.handle(Returned(1, indices))

    def test_none_behind_one_that_has_to_be_proposed(self):
        schedule = Schedule(range(3), 3, lambda index: index == 1)
        schedule.handle(Ready(1))
        assert schedule.handle(More(1)) == []
        assert schedule.handle(Ready(2)) == [Start(2, 1, 1)]
        assert schedule.handle(More(1)) == [Start(1, 2, 1, ahead=True)]
        schedule.check()

    def test_none_that_bayesian_sets_wait_for(self):
        schedule = Schedule(range(4), 4, lambda index: index == 3, wait_for_all=True)
        schedule.handle(Ready(1))
        assert schedule.handle(More(1)) == []

    def test_none_while_something_is_to_be_tried_again(self, schedule):
        schedule.handle(Ready(1, "a"))
        schedule.handle(Ready(2, "b"))
        schedule.handle(Finished(1, 0, result=float("nan"), again=True))
        assert schedule.attempts
        assert schedule.handle(More(1)) == []

    def test_none_when_it_drains_or_is_idle(self, schedule):
        assert schedule.handle(More(1)) == []
        schedule.handle(Ready(1))
        schedule.handle(Drain())
        assert schedule.handle(More(1)) == []

    def test_none_when_time_is_short(self):
        now = 0.0
        schedule = Schedule(range(9), 9, never, deadline=Deadline(100.0, [8.0], lambda: now))
        schedule.handle(Ready(1))
        assert len(schedule.handle(More(1))) == 1
        now = 21.0
        assert schedule.handle(More(1)) == []

    def test_none_on_a_host_that_gets_nothing(self, schedule):
        schedule._hosts.drained.add("a")
        schedule.handle(Ready(1, "b"))
        assert len(schedule.handle(More(1))) == 1
        schedule._hosts.drained.add("b")
        assert schedule.handle(More(1)) == []
