"""What fits in before the end: by a clock that the tests move."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phs_mpi.deadline import CONFIDENCE, RATIO, Deadline, Durations, in_words, seconds_of
from phs_mpi.errors import BackendError
from phs_mpi.schedule import Drain, Finished, Lost, Ready, Schedule, Start, Stop, Wait


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0.5", 0.5),
        (" 2:30 ", 150),
        ("1:00:00", 3600),
        ("100:00:01", 360001),
        ("1-0", 86400),
        ("2-12:30", 2 * 86400 + 12 * 3600 + 30 * 60),
        ("1-02:03:04", 86400 + 2 * 3600 + 3 * 60 + 4),
    ],
)
def test_durations_as_slurm_writes_them(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-3", "soon", "1:2:3:4", "1-", "nan", "0:00", "1h"])
def test_what_is_no_duration(text):
    with pytest.raises(BackendError, match="is no duration; give seconds, or H:MM:SS"):
        seconds_of(text)


def test_words():
    assert [in_words(s) for s in (0.0123, 59, 61, 3600)] == ["0.012 s", "59 s", "61 s", "60 min"]


class TestQuantile:
    def test_nothing_seen(self):
        assert Durations().quantile(0.9) == 0

    @given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=200), st.floats(0.05, 1))
    def test_of_finished_ones_it_is_the_order_statistic(self, seconds, probability):
        found = Durations(seconds).quantile(probability)
        place = max(1, math.ceil(probability * len(seconds) - 1e-9))
        exact = sorted(seconds)[place - 1]
        assert exact * (1 - 1e-9) <= found <= exact * RATIO * (1 + 1e-9)

    def test_running_ones_that_have_just_begun_change_nothing(self):
        assert Durations([100.0] * 3).quantile(0.9, [0.5] * 60) >= 100

    def test_running_ones_raise_it(self):
        seen = Durations([1.0] * 50)
        assert seen.quantile(0.9) < 1.1
        assert seen.quantile(0.9, [300.0] * 10) >= 300

    def test_with_none_finished_the_longest_running_one_counts(self):
        assert Durations().quantile(0.9, [5.0, 40.0, 0.0]) >= 40

    @given(st.integers(0, 2**32 - 1))
    def test_censoring_does_not_make_it_too_short(self, seed):
        # Half of the durations are cut off at a random moment, as they are while a run lasts.
        draw = np.random.default_rng(seed)
        seconds, cut = draw.lognormal(3, 1, 4000), draw.lognormal(3, 1, 4000)
        seen = Durations(seconds[seconds <= cut])
        true = np.quantile(seconds, 0.7)
        found = seen.quantile(0.7, cut[seconds > cut])
        assert 0.85 * true < found < 1.2 * true
        assert seen.quantile(0.7) < found  # as it would be of finished ones alone

    def test_times_of_nothing_and_nonsense(self):
        seen = Durations([0.0, math.nan, 1.0])
        assert seen.count == 2
        assert seen.quantile(0.5) == 0


class TestDeadline:
    def test_the_first_ones_are_handed_out(self, clock):
        deadline = Deadline(1010, clock=clock)
        assert not deadline.refusal()
        clock.now = 1010
        assert deadline.refusal() == "the time is up"

    def test_what_is_as_long_as_those_seen_has_to_fit(self, clock):
        deadline = Deadline(1100, clock=clock)
        deadline.began(1)
        clock.now += 30
        deadline.ended(1)
        clock.now = 1069
        assert not deadline.refusal()
        clock.now = 1071
        assert deadline.refusal().startswith(
            "29 s are left before the shutdown, and by those seen so far one in 10"
        )

    def test_nothing_finished_but_something_runs_for_long(self, clock):
        deadline = Deadline(1100, clock=clock)
        deadline.began(1)
        clock.now += 40
        assert not deadline.refusal()
        clock.now += 20
        assert "60 s or more" in deadline.refusal().replace("61 s", "60 s")

    def test_one_outlier_among_many_does_not_end_the_run(self, clock):
        deadline = Deadline(1100, [1.0] * 99 + [5000.0], clock=clock)
        assert not deadline.refusal()
        clock.now = 1099.5
        assert deadline.refusal()

    def test_earlier_runs_count(self, clock):
        assert Deadline(1100, [200.0], clock=clock).refusal()

    def test_a_lost_one_says_nothing(self, clock):
        deadline = Deadline(1100, clock=clock)
        deadline.began(1)
        clock.now += 60
        deadline.lost(1)
        deadline.ended(1)
        assert not deadline.refusal()

    def test_short_ones_go_on_to_the_end(self, clock):
        deadline = Deadline(1100, [1e-4] * 10_000, clock=clock)
        clock.now = 1099.99
        assert not deadline.refusal()

    @given(
        st.lists(st.floats(0.01, 1000), max_size=30),
        st.lists(st.floats(0, 500), max_size=8),
        st.floats(0.1, 2000),
    )
    def test_once_refused_it_stays_so_while_nothing_ends(self, seconds, began, left):
        clock = Clock()
        deadline = Deadline(3000, seconds, clock)
        for worker, when in enumerate(sorted(began)):
            clock.now = 1000 + when
            deadline.began(worker)
        clock.now = max(clock.now, 3000 - left)
        before = deadline.refusal()
        clock.now += 1.0
        assert not before or deadline.refusal()

    @given(st.lists(st.floats(0.1, 100), min_size=1, max_size=50), st.floats(0.1, 200))
    def test_it_agrees_with_the_quantile(self, seconds, left):
        clock = Clock()
        deadline = Deadline(1000 + left, seconds, clock)
        estimate = Durations(seconds).quantile(CONFIDENCE)
        if not estimate * 0.98 < left < max(estimate, max(seconds)) * 1.05:
            assert bool(deadline.refusal()) == (left < estimate)


class TestSchedule:
    def test_it_stops_handing_out_and_says_why_once(self, clock):
        deadline = Deadline(1100, clock=clock)
        schedule = Schedule(range(9), 9, lambda index: False, deadline=deadline)
        for worker in (1, 2, 3):
            assert isinstance(schedule.handle(Ready(worker))[0], Start)
        clock.now += 60
        assert schedule.handle(Finished(1, 0)) == [Stop(1)]
        assert schedule.draining
        assert schedule.out_of_time
        assert schedule.handle(Finished(2, 1)) == [Stop(2)]
        schedule.check()
        assert not schedule.over
        assert schedule.handle(Finished(3, 2)) == [Stop(3)]
        assert schedule.over
        assert not schedule.complete
        assert len(schedule.remarks) == 1
        assert schedule.remarks[0].startswith("nothing more is started: 40 s are left")

    def test_a_worker_that_waits_is_stopped_too(self, clock):
        deadline = Deadline(1100, clock=clock)
        schedule = Schedule(
            range(4), 4, lambda index: index == 1, wait_for_all=True, deadline=deadline
        )
        schedule.handle(Ready(1))
        assert schedule.handle(Ready(2))[0].index == 2
        assert schedule.handle(Ready(3))[0].index == 3
        assert schedule.handle(Ready(4)) == [Wait(4)]
        clock.now += 80
        assert schedule.handle(Finished(2, 2)) == [Wait(2)]  # nothing that could be started
        assert set(schedule.handle(Finished(1, 0))) == {Stop(1), Stop(2), Stop(4)}
        assert schedule.handle(Finished(3, 3)) == [Stop(3)]
        assert schedule.over

    def test_nothing_is_said_where_nothing_is_left_to_hand_out(self, clock):
        schedule = Schedule([0], 1, lambda index: False, deadline=Deadline(1010, clock=clock))
        schedule.handle(Ready(1))
        clock.now += 60
        assert schedule.handle(Finished(1, 0)) == [Stop(1)]
        assert schedule.complete
        assert not schedule.remarks
        assert not schedule.out_of_time

    def test_lost_and_drained_ones(self, clock):
        schedule = Schedule(range(3), 3, lambda index: False, deadline=Deadline(1100, clock=clock))
        schedule.handle(Ready(1))
        clock.now += 60
        schedule.handle(Lost(1))
        assert isinstance(schedule.handle(Ready(2))[0], Start)
        schedule.handle(Drain())
        assert not schedule.out_of_time
        assert schedule.handle(Finished(2, 0)) == [Stop(2)]
