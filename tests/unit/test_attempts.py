"""Where the next attempt goes, and what is written of one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phs_mpi.attempts import Attempts
from phs_mpi.deadline import Deadline
from phs_mpi.errors import DefinitionError
from phs_mpi.hosts import Hosts
from phs_mpi.log import Cause, EntryKind, Outcome, Status
from phs_mpi.repeats import Repeats
from phs_mpi.retries import BY_DEFAULT, CAUSES, Retries
from phs_mpi.schedule import (
    Drain,
    Finished,
    InvalidEvent,
    Lost,
    Proposed,
    Ready,
    Schedule,
    Start,
    Stop,
    Wait,
)


def never(index):
    return False


def attempts_on(names: str) -> Attempts:
    hosts = Hosts()
    for worker, host in enumerate(names):
        hosts.join(worker, host)
    return Attempts(hosts)


class TestWhere:
    def test_another_host_first(self):
        attempts = attempts_on("aab")
        attempts.failed(7, 0)
        assert attempts.take(0) is None
        assert attempts.take(1) is None
        assert list(attempts) == [7]
        assert attempts.number(7) == 2
        assert attempts.take(2) == 7
        assert not len(attempts)

    def test_else_another_worker_of_the_same_host(self):
        attempts = attempts_on("aa")
        attempts.failed(7, 0)
        assert attempts.take(0) is None
        assert attempts.take(1) == 7

    def test_else_the_same_one(self):
        attempts = attempts_on("a")
        attempts.failed(7, 0)
        assert attempts.take(0) == 7

    def test_when_it_has_failed_everywhere_anybody_takes_it(self):
        attempts = attempts_on("ab")
        for worker in (0, 1):
            attempts.failed(7, worker)
            attempts.take(1 - worker)
        attempts.failed(7, 1)
        assert attempts.number(7) == 4
        assert attempts.take(0) == 7

    def test_the_lowest_that_suits(self):
        attempts = attempts_on("ab")
        for index, worker in ((5, 0), (3, 1), (4, 1)):
            attempts.failed(index, worker)
        assert [attempts.take(0), attempts.take(0), attempts.take(0)] == [3, 4, None]
        assert attempts.take(1) == 5

    def test_workers_that_are_gone_are_not_waited_for(self):
        hosts = Hosts()
        for worker, host in enumerate("ab"):
            hosts.join(worker, host)
        attempts = Attempts(hosts)
        attempts.failed(7, 0)
        hosts.leave(1)
        assert attempts.take(0) == 7


class TestSchedule:
    def test_with_the_same_values_and_announced_once(self):
        schedule = Schedule([0], 1, lambda index: True)
        assert schedule.handle(Ready(1, "a")) == [Start(1, 0, 0)]
        schedule.handle(Proposed(1, 0, row="values"))
        assert schedule.handle(Ready(2, "b")) == [Wait(2)]
        after = schedule.handle(Finished(1, 0, again=True))
        assert after == [Wait(1), Start(2, 0, 1, chosen=True, attempt=2, known=True)]
        schedule.check()
        with pytest.raises(InvalidEvent):
            schedule.handle(Proposed(2, 0))
        assert schedule.handle(Finished(2, 0, result=1.0)) == [Stop(2), Stop(1)]
        kinds = [(e.kind, e.worker) for e in schedule.take_entries()]
        assert kinds == [(EntryKind.STARTED, 1), (EntryKind.COMPLETED, 2)]

    def test_other_work_goes_on_meanwhile(self):
        schedule = Schedule(range(4), 4, never)
        for worker, host in ((1, "a"), (2, "b")):
            schedule.handle(Ready(worker, host))
        assert schedule.handle(Finished(1, 0, again=True))[0][:2] == (1, 2)
        assert schedule.handle(Finished(2, 1, result=1.0))[0] == Start(2, 0, 4, False, 2, True)
        schedule.check()

    def test_a_lone_worker_tries_itself(self):
        schedule = Schedule([0], 1, never)
        schedule.handle(Ready(1))
        for attempt in (2, 3):
            assert schedule.handle(Finished(1, 0, again=True))[0].attempt == attempt
        assert schedule.handle(Finished(1, 0)) == [Stop(1)]
        assert schedule.complete

    def test_one_that_leaves_while_it_is_waited_for(self):
        schedule = Schedule(range(2), 2, never)
        schedule.handle(Ready(1, "a"))
        schedule.handle(Ready(2, "b"))
        assert schedule.handle(Finished(1, 0, again=True)) == [Wait(1)]
        # The one that was to take it is lost: then the other has to, and with its set too.
        assert schedule.handle(Lost(2))[0][:2] == (1, 0)
        schedule.check()

    def test_lost_in_the_second_attempt_its_values_are_chosen_anew(self):
        schedule = Schedule([0], 1, lambda index: True)
        schedule.handle(Ready(1, "a"))
        schedule.handle(Proposed(1, 0))
        schedule.handle(Finished(1, 0, leaves=True, again=True))
        assert schedule.handle(Ready(2, "b"))[0] == Start(2, 0, 1, True, 2, True)
        schedule.handle(Lost(2))
        assert schedule.handle(Ready(3, "c"))[0] == Start(3, 0, 2, False, 2, False)
        schedule.handle(Proposed(3, 0))
        schedule.handle(Finished(3, 0, result=1.0))
        kinds = [e.kind.name for e in schedule.take_entries()]
        assert kinds == ["STARTED", "LOST", "STARTED", "COMPLETED"]

    def test_drained_before_another_attempt(self):
        schedule = Schedule(range(2), 2, never)
        schedule.handle(Ready(1))
        schedule.handle(Drain())
        assert schedule.handle(Finished(1, 0, again=True)) == [Stop(1)]
        assert schedule.over
        assert not schedule.complete
        schedule.check()

    def test_a_drained_host_gets_nothing_until_the_end(self):
        schedule = Schedule(range(200), 200, never, hosts=Hosts(3))
        now = {}
        for worker, host in ((1, "a"), (2, "b"), (3, "b")):
            now[worker] = schedule.handle(Ready(worker, host))[0].index
        while not schedule.remarks:
            now[1] = schedule.handle(Finished(1, now[1], result=1.0))[0].index
            found = schedule.handle(Finished(2, now[2]))[0]
            now[2] = getattr(found, "index", None)
        assert found == Wait(2)
        assert schedule.handle(Finished(3, now[3])) == [Wait(3)]
        while not schedule.complete:
            after = schedule.handle(Finished(1, now[1], result=1.0))
            schedule.check()
            assert after[0].worker == 1
            now[1] = getattr(after[0], "index", None)
        assert set(after) == {Stop(1), Stop(2), Stop(3)}

    def test_it_is_released_when_the_others_are_gone(self):
        schedule = Schedule(range(200), 200, never, hosts=Hosts(3))
        now = {w: schedule.handle(Ready(w, h))[0].index for w, h in ((1, "a"), (2, "b"))}
        while not schedule.remarks:
            now[1] = schedule.handle(Finished(1, now[1], result=1.0))[0].index
            after = schedule.handle(Finished(2, now[2]))
            now[2] = getattr(after[0], "index", None)
        (start,) = schedule.handle(Lost(1))
        assert (start.worker, start.index) == (2, now[1])
        schedule.check()


@settings(max_examples=300, deadline=None)
@given(
    sets=st.integers(1, 8),
    bayesian=st.sets(st.integers(0, 7)),
    hosts=st.text("abc", min_size=1, max_size=5),
    least=st.integers(1, 2),
    wait_for_all=st.booleans(),
    most_attempts=st.integers(1, 4),
    in_a_row=st.integers(0, 2),
    timed=st.booleans(),
    data=st.data(),
)
def test_whatever_fails_each_evaluation_is_finished_once(
    sets, bayesian, hosts, least, wait_for_all, most_attempts, in_a_row, timed, data
):
    repeats = Repeats(least, least)
    is_bayesian = lambda index: index // least in bayesian  # noqa: E731
    now = [0.0]
    drained = Hosts(in_a_row)
    schedule = Schedule(
        range(sets * least),
        sets * least,
        is_bayesian,
        wait_for_all=wait_for_all,
        repeats=repeats,
        hosts=drained,
        deadline=Deadline(1e3, clock=lambda: now[0]) if timed else None,
    )
    running, finished, failed, announced = {}, [], {}, set()
    where = dict(enumerate(hosts))  # workers that are there
    home = dict(where)
    lost = 0

    def handle(event):
        instructions = schedule.handle(event)
        schedule.check()
        for instruction in instructions:
            if not isinstance(instruction, Start):
                continue
            worker, index = instruction[:2]
            assert worker not in running
            assert index not in running.values()
            assert index not in finished
            assert instruction.attempt == len(failed.get(index, ())) + 1
            assert instruction.known == (index in announced)
            assert not (instruction.known and is_bayesian(index)) or instruction.chosen
            if instruction.known:
                # Never back to where it failed while a worker elsewhere could have it.
                bad = {home[w] for w in failed[index]}
                open_hosts = {h for h in where.values() if h not in drained.drained}
                assert home[worker] not in bad or open_hosts <= bad
            running[worker] = index
            if not is_bayesian(index):
                announced.add(index)

    for worker in range(len(hosts)):
        handle(Ready(worker, where[worker]))
    while not schedule.over:
        assert running, "nothing runs and it is not over"
        now[0] += data.draw(st.floats(0, 50)) if timed else 0
        worker = data.draw(st.sampled_from(sorted(running)))
        index = running[worker]
        if is_bayesian(index) and index not in announced:
            announced.add(index)
            handle(Proposed(worker, index))
            continue
        del running[worker]
        if lost < 3 and data.draw(st.integers(0, 9)) == 0:
            lost += 1
            announced.discard(index)
            host = where.pop(worker)
            handle(Lost(worker))
            fresh = 100 + lost
            where[fresh] = home[fresh] = host
            handle(Ready(fresh, host))
        elif len(failed.get(index, ())) + 1 < most_attempts and data.draw(st.booleans()):
            failed.setdefault(index, []).append(worker)
            handle(Finished(worker, index, again=True))
        else:
            finished.append(index)
            announced.discard(index)
            handle(Finished(worker, index, result=data.draw(st.sampled_from([0.5, float("nan")]))))
    assert len(finished) == len(set(finished))
    assert schedule.complete or schedule.out_of_time
    assert schedule.out_of_time or sorted(finished) == list(range(sets * least))


class TestRetries:
    def test_marks(self):
        retries = Retries.of(1, None)
        outcome = Outcome(3, Status.FAILED, error="was killed", cause=Cause.SIGNAL)
        assert retries.mark(outcome, 1)
        assert (outcome.status, outcome.error) == (Status.RUNNING, "attempt 1: was killed")
        outcome = Outcome(3, Status.FAILED, error="was killed", cause=Cause.SIGNAL)
        assert not retries.mark(outcome, 2)
        assert (outcome.status, outcome.error) == (Status.FAILED, "attempt 2: was killed")
        outcome = Outcome(3, Status.DONE, 1.0)
        assert not retries.mark(outcome, 2)
        assert (outcome.status, outcome.error) == (Status.DONE, "attempt 2")
        outcome = Outcome(3, Status.DONE, 1.0)
        assert not retries.mark(outcome, 1)
        assert outcome.error == ""

    @pytest.mark.parametrize("cause", Cause)
    def test_causes(self, cause):
        failed = Outcome(0, Status.FAILED, error="why", cause=cause)
        assert Retries.of(1, None).mark(failed, 1) == (cause in BY_DEFAULT)
        assert not Retries().mark(failed, 1)
        assert Cause.NONE not in BY_DEFAULT

    def test_what_may_be_given(self):
        assert Retries.of(None, None) == Retries()
        assert Retries.of(2, "signal, exit").causes == {Cause.SIGNAL, Cause.EXIT}
        assert Retries.of(2, ["memory"]).causes == {Cause.MEMORY}
        assert Retries.of(2, set(CAUSES)).causes == set(CAUSES.values())

    @pytest.mark.parametrize(
        ("times", "on", "said"),
        [
            (-1, None, "retries=-1 is no number of attempts"),
            (1.5, None, "retries=1.5 is no number"),
            (True, None, "retries=True is no number"),
            (1, "weather", "retry_on='weather' is no cause; choose from exception, result"),
            (1, [], "retry_on names no cause"),
            (1, 3, "retry_on=3 is no list"),
            (1, [3], "retry_on=3 is no cause"),
        ],
    )
    def test_what_may_not(self, times, on, said):
        with pytest.raises(DefinitionError, match=said):
            Retries.of(times, on)

    def test_the_later_word_counts(self):
        of_experiment = Retries.of(3, "signal")
        assert of_experiment.merged(Retries()) == of_experiment
        assert of_experiment.merged(Retries.of(0, None)) == Retries(0, of_experiment.causes)
        assert Retries().merged(of_experiment) == of_experiment
