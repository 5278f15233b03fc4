"""The shared log and its readers."""

import math

import pytest

from phs_mpi.log import EntryKind, Log, LogEntry, LogReader
from phs_mpi.repeats import Repeats

S, C, L = EntryKind.STARTED, EntryKind.COMPLETED, EntryKind.LOST


@pytest.fixture
def log():
    return Log(
        [
            LogEntry(S, 0),
            LogEntry(S, 1),
            LogEntry(C, 1, result=2.0),
            LogEntry(L, 0),
            LogEntry(S, 0),
            LogEntry(C, 0, result=math.nan),
        ]
    )


@pytest.mark.parametrize(
    ("length", "pending", "completed"),
    [
        (0, [], []),
        (2, [0, 1], []),
        (3, [0], [1]),
        (4, [], [1]),
        (5, [0], [1]),
        (6, [], [1, 0]),
    ],
)
def test_a_prefix_tells_what_is_pending_and_completed(log, length, pending, completed):
    reader = LogReader(log)
    reader.advance(length)
    assert list(reader.pending) == pending
    assert list(reader.completed) == completed


def test_reading_in_steps_equals_reading_at_once(log):
    steps, once = LogReader(log), LogReader(log)
    for length in range(len(log) + 1):
        steps.advance(length)
    once.advance(len(log))
    assert list(steps.completed) == list(once.completed)
    assert steps.pending == once.pending


def test_entries_behind_the_prefix_do_not_show(log):
    reader = LogReader(log)
    reader.advance(3)
    log.append(LogEntry(C, 9, result=1.0))
    assert list(reader.completed) == [1]


@pytest.mark.parametrize("length", [2, 7])
def test_a_reader_neither_goes_back_nor_beyond_the_end(log, length):
    reader = LogReader(log)
    reader.advance(3)
    with pytest.raises(ValueError, match=f"to {length} of 6"):
        reader.advance(length)


def test_lost_after_completed_makes_a_set_missing_again(log):
    log.append(LogEntry(L, 1))
    reader = LogReader(log)
    reader.advance(len(log))
    assert list(reader.completed) == [0]


def test_digest_depends_on_order_and_results():
    a = [LogEntry(S, 0), LogEntry(S, 1)]
    assert Log(a).digest() != Log(a[::-1]).digest()
    assert Log([LogEntry(C, 0, result=1.0)]).digest() != Log([LogEntry(C, 0, result=2.0)]).digest()
    assert Log(a).digest() == Log(list(a)).digest()
    assert Log(a).digest(1) == Log(a[:1]).digest()


def test_a_set_is_pending_until_its_least_repeats_have_finished():
    log = Log(
        [
            LogEntry(S, 0, row="values"),  # set 0, proposed
            LogEntry(S, 4),  # set 1, drawn
            LogEntry(C, 0, result=1.0),
            LogEntry(L, 4),
            LogEntry(S, 1, row="values"),
            LogEntry(C, 1, result=3.0),
            LogEntry(S, 2, row="values"),
            LogEntry(C, 2, result=8.0),
        ]
    )
    reader = LogReader(log, Repeats(2, 4))
    said = []
    for length in range(1, len(log) + 1):
        reader.advance(length)
        said.append((list(reader.pending), reader.completed.copy()))
    assert said == [
        ([0], {}),
        ([0, 1], {}),
        ([0, 1], {}),
        ([0], {}),
        ([0], {}),
        ([], {0: 2.0}),
        ([], {0: 2.0}),
        ([], {0: 4.0}),
    ]
    assert reader.summaries[0].succeeded == 3
    assert reader.summaries[0].variance == pytest.approx(13.0)
    assert reader.rows == {0: "values"}


def test_a_lost_repeat_leaves_its_set_as_it_is():
    log = Log([LogEntry(S, 0, row="values"), LogEntry(L, 0), LogEntry(S, 2), LogEntry(S, 3)])
    log.append(LogEntry(L, 2))
    reader = LogReader(log, Repeats(2, 2))
    reader.advance(5)
    # Announced values stay; of a drawn set another repeat still runs.
    assert list(reader.pending) == [0, 1]
    assert reader.rows == {0: "values"}


@pytest.mark.parametrize("start", [0, 1, 1023, 1024, 2500])
@pytest.mark.parametrize("stop", [None, 0, 1024, 1025, 3000, 9999])
def test_a_long_log_is_cut_anywhere(start, stop):
    entries = [
        LogEntry(
            C if i % 3 else S, 2**40 + i, i % 7, 1 / (i + 1), f"row {i}" if i % 5 == 0 else None
        )
        for i in range(3000)
    ]
    log = Log(entries)
    assert len(log) == 3000
    assert log.entries(start, stop) == entries[start:stop]
    assert all(isinstance(entry.kind, EntryKind) for entry in log.entries(start, stop))
