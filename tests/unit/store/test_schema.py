import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phs_mpi.log import EntryKind, Log, LogEntry, LogReader, Status
from phs_mpi.store import schema

VALUES = np.dtype([("x", "f8"), ("name", "S5")])
ROW = schema.evaluation_dtype(VALUES, ["loss"])


def finished_row(status=Status.DONE):
    row = np.zeros(1, ROW)
    row["values"]["x"], row["values"]["name"], row["result"] = 0.5, "ä".encode(), 2.0
    row["status"] = status
    row["checksum"] = schema.checksum(memoryview(row.view(np.uint8)))
    return row


@given(st.text(), st.integers(0, 12))
def test_text_is_cut_between_characters(text, width):
    head, tail = schema.text_head(text, width), schema.text_tail(text, width)
    assert len(head) <= width
    assert len(tail) <= width
    full = text.replace("\0", "\\x00").encode("utf-8", "backslashreplace")
    assert full.startswith(head)
    assert full.endswith(tail)
    assert head.decode() + tail.decode() is not None  # both are whole characters
    if len(full) <= width:
        assert head == tail == full
    else:  # no more than one character was given up
        assert len(head) > width - 4
        assert len(tail) > width - 4


@given(st.dictionaries(st.text(max_size=20), st.floats(allow_nan=False), max_size=30))
def test_metrics_text_has_whole_entries_only(metrics):
    metrics.pop("...", None)
    raw = schema.metrics_text(metrics)
    assert len(raw) <= schema.MORE_METRICS_WIDTH
    kept = json.loads(raw or b"{}")
    dropped = kept.pop("...", 0)
    assert len(kept) + dropped == len(metrics)
    assert kept.items() <= metrics.items()


def test_row_ends_with_checksum_and_status():
    assert ROW.names[-2:] == ("checksum", "status")
    assert ROW.fields["status"][1] == ROW.itemsize - 1
    assert schema.metric_names(ROW) == ("loss",)
    assert schema.metric_names(schema.evaluation_dtype(VALUES)) == ()


@given(st.integers(0, ROW.itemsize - 1), st.integers(1, 255))
def test_any_changed_byte_makes_a_row_count_as_not_evaluated(position, change):
    row = finished_row()
    assert schema.whole(row).tolist() == [True]
    row.view(np.uint8)[position] ^= change
    assert schema.whole(row).tolist() == [False]


@pytest.mark.parametrize("status", list(Status))
def test_only_finished_statuses_count(status):
    counts = status in (Status.DONE, Status.FAILED, Status.TIMED_OUT)
    assert schema.whole(finished_row(status)).tolist() == [counts]


def test_whole_of_no_rows():
    assert schema.whole(np.zeros(0, ROW)).shape == (0,)


SETS = 6
ENTRIES = st.lists(st.tuples(st.integers(0, SETS - 1), st.sampled_from(list(EntryKind))))


def as_log(entries):
    return np.array([(index, kind) for index, kind in entries], schema.LOG_DTYPE)


@given(ENTRIES, st.lists(st.booleans(), min_size=SETS, max_size=SETS))
def test_a_mended_log_agrees_with_the_rows(entries, finished):
    log, finished = as_log(entries), np.array(finished)
    additions = schema.mend_log(log, finished)
    mended = np.concatenate([log, additions])
    # Judged by the reader that workers use.
    replayed = Log(LogEntry(EntryKind(k), i) for i, k in mended.tolist())
    reader = LogReader(replayed)
    reader.advance(len(replayed))
    assert set(reader.completed) == set(np.flatnonzero(finished).tolist())
    assert not reader.pending
    assert (np.diff(additions["index"]) > 0).all()
    assert len(schema.mend_log(mended, finished)) == 0


@given(ENTRIES)
def test_last_kinds(entries):
    expected = np.zeros(SETS)
    for index, kind in entries:
        expected[index] = kind
    assert schema.last_kinds(as_log(entries), SETS).tolist() == expected.tolist()


def test_log_length_stops_at_the_first_free_or_senseless_entry():
    log = np.zeros(8, schema.LOG_DTYPE)
    assert schema.log_length(log, SETS) == 0
    log[:3] = [(0, 1), (1, 1), (0, 2)]
    assert schema.log_length(log, SETS) == 3
    log[4] = (1, 2)  # behind a gap
    assert schema.log_length(log, SETS) == 3
    log[1] = (SETS, 1)
    assert schema.log_length(log, SETS) == 1
    log[:] = (0, 1)
    assert schema.log_length(log, SETS) == 8


DEFINITION = {
    "target": "f",
    "parameters": [{"name": "x", "kind": "float"}, {"name": "n", "kind": "int"}],
    "groups": [
        {"count": 3, "strategies": {"x": {"low": 0}}},
        {"count": 5, "strategies": {"x": {"low": 1}}},
    ],
    "seed": 7,
    "wait_for_all": False,
}


def changed(**entries):
    return json.loads(json.dumps(DEFINITION)) | entries


@pytest.mark.parametrize(
    ("current", "words"),
    [
        (changed(seed=8), "seed is 7 in the file, 8 now"),
        (
            changed(parameters=[{"name": "x", "kind": "int"}, {"name": "n", "kind": "int"}]),
            "parameters[x].kind is 'float' in the file, 'int' now",
        ),
        (changed(parameters=DEFINITION["parameters"][:1]), "parameters is"),
        (changed(groups=DEFINITION["groups"][:1]), "the file has 2 groups of parameter sets, 1"),
        (
            changed(groups=[DEFINITION["groups"][0] | {"count": 4}, DEFINITION["groups"][1]]),
            "group 0 has 3 parameter sets in the file, 4 now",
        ),
        (
            changed(groups=[DEFINITION["groups"][0], DEFINITION["groups"][1] | {"count": 4}]),
            "group 1 has 5 parameter sets in the file, 4 now",
        ),
        (
            changed(
                groups=[DEFINITION["groups"][0], {"count": 5, "strategies": {"x": {"low": 2}}}]
            ),
            "group 1: x.low is 1 in the file, 2 now",
        ),
        (changed(maximize=True), "maximize is absent in the file, True now"),
    ],
)
def test_differences_say_what_differs(current, words):
    (line,) = schema.differences(DEFINITION, current)
    assert words in line


def test_a_grown_experiment_is_the_same():
    more = [*DEFINITION["groups"], {"count": 1, "strategies": {}}]
    longer = [DEFINITION["groups"][0], DEFINITION["groups"][1] | {"count": 9}]
    for groups in (DEFINITION["groups"], more, longer):
        assert schema.differences(DEFINITION, changed(groups=groups)) == []


def test_options_that_may_change_are_told_apart():
    current = changed(wait_for_all=True)
    assert schema.differences(DEFINITION, current) == []
    assert schema.changes(DEFINITION, current) == ["wait_for_all is False in the file, True now"]


def test_set_differences_name_set_parameter_and_values():
    then = np.array([(0.5, b"a"), (np.nan, b"b"), (1.5, "ä".encode())], VALUES)
    now = then.copy()
    assert schema.set_differences(then, now) == []
    now["x"][2], now["name"][2] = 2.5, b"c"
    assert schema.set_differences(then, now) == [
        "set 2: x is 1.5 in the file, 2.5 now, name is 'ä' in the file, 'c' now"
    ]


def test_log_capacity_leaves_room():
    assert not schema.log_is_full(schema.log_capacity(10), 20, 10)
    assert schema.log_is_full(100, 40, 10)
