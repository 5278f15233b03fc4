"""The progress display."""

import io
import math

import pytest

from phs_mpi.progress import Progress, on_terminal


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_without_a_terminal_the_last_completion_prints_one_plain_line():
    stream = io.StringIO()
    progress = Progress(3, stream=stream)
    for index, result in enumerate([2.0, math.nan, 1.0]):
        progress.completed(index, result)
    progress.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("phs_mpi: 3/3 evaluated, best 1 (set 2), 1 failed, ")


def test_a_line_appears_every_ten_seconds(monkeypatch):
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    stream = io.StringIO()
    progress = Progress(100, stream=stream)
    for index in range(9):
        progress.completed(index, 1.0)
    assert len(stream.getvalue().splitlines()) == 3


def test_on_a_terminal_there_is_a_bar_with_the_best():
    stream = Terminal()
    progress = Progress(2, stream=stream)
    progress.completed(0, 3.0)
    progress.completed(1, 2.0)
    progress.close()
    assert "2/2" in stream.getvalue()
    assert "best 2 (set 1)" in stream.getvalue()


@pytest.mark.parametrize(("maximize", "best"), [(False, 1), (True, 0)])
def test_best_respects_the_direction(maximize, best):
    progress = Progress(3, maximize=maximize, stream=io.StringIO())
    progress.resume(0, 5.0)
    progress.completed(1, -1.0)
    progress.completed(2, 0.0)
    assert progress.best_index == best


def test_quiet_shows_nothing_but_what_is_said():
    stream = Terminal()
    progress = Progress(1, quiet=True, stream=stream)
    progress.completed(0, 1.0)
    assert stream.getvalue() == ""
    progress.say("a problem")
    assert stream.getvalue() == "phs_mpi: a problem\n"


def test_resumed_sets_count_but_not_towards_the_rate(monkeypatch):
    progress = Progress(10, stream=io.StringIO())
    for index in range(7):
        progress.resume(index, 1.0)
    clock = iter([10.0, 12.0, 14.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    for index in (7, 8, 9):
        progress.completed(index, math.nan if index == 9 else 1.0)
    assert progress.finished == 10
    assert progress.succeeded == 9
    assert progress.rate == pytest.approx(0.5)


def test_a_set_evaluated_again_counts_once():
    progress = Progress(1, stream=io.StringIO())
    progress.resume(0, 1.0)
    progress.completed(0, math.nan)
    assert (progress.finished, progress.succeeded) == (1, 0)


def test_a_pipe_is_no_terminal(monkeypatch):
    monkeypatch.delenv("OMPI_COMM_WORLD_RANK", raising=False)
    monkeypatch.delenv("PMI_RANK", raising=False)
    assert not on_terminal(io.StringIO())
