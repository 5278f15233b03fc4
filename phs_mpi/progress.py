"""How far a run is: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import math
import os
import sys
import time
import warnings
from functools import cached_property
from typing import TextIO

from .repeats import ONCE, Repeats, summarise
from .terminal import printable

_LINE_SECONDS = 10.0


def on_terminal(stream: TextIO) -> bool:
    """Whether `stream` ends on a terminal, also through a local ``mpirun``.

    mpirun gives its ranks pipes and copies them to its own streams; whether those are a
    terminal can be seen from its file descriptor.
    """
    if stream.isatty():
        return True
    if "OMPI_COMM_WORLD_RANK" not in os.environ and "PMI_RANK" not in os.environ:
        return False
    try:
        return os.readlink(f"/proc/{os.getppid()}/fd/2").startswith(("/dev/pts/", "/dev/tty"))
    except OSError:  # not Linux, or not our process: then plain lines
        return False


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config


class Progress:
    """Counts completions and shows them.

    Parameters
    ----------
    total : int
        Evaluations that the experiment needs, as far as is known.
    quiet : bool
        Show nothing (messages of :meth:`say` still appear).
    maximize : bool
        Whether the best result is the highest.
    stream : file, optional
        Default: standard error.
    repeats : Repeats
        How evaluations are numbered; the best is the best mean of a set that has had the least
        number of repeats.

    Attributes
    ----------
    extras : int
        Evaluations that have become necessary since.
    best, best_index : float, int
        Result and number of the best set so far; NaN and -1 without any.
    succeeded : int
        Evaluations with a result.
    """

    def __init__(
        self,
        total: int,
        *,
        quiet: bool = False,
        maximize: bool = False,
        stream: TextIO | None = None,
        repeats: Repeats = ONCE,
    ):
        self._repeats = repeats
        self._sets: dict[int, dict[int, float]] = {}
        self._means: dict[int, float] = {}
        self.extras = 0
        self._notebook = stream is None and in_notebook()
        if self._notebook:
            stream = sys.stderr  # what is written to its file descriptor shows nowhere
        # The target's output may be redirected while the bar moves: keep a stream of our own.
        self._stream = stream or os.fdopen(os.dup(2), "w", buffering=1)
        self._planned = total
        self._quiet = quiet
        self._sign = -1.0 if maximize else 1.0
        self._bar = None
        self._begun = self._last_line = time.monotonic()
        self._first = self._last = 0.0  # when this run's first and latest completion came
        self._initial = 0
        self._results: dict[int, float] = {}
        self.best = math.nan
        self.best_index = -1
        self.succeeded = 0

    @property
    def finished(self) -> int:
        """Evaluations so far, in this run or an earlier one."""
        return len(self._results)

    @property
    def made(self) -> int:
        """Evaluations that this run has made."""
        return self.finished - self._initial

    @property
    def left(self) -> int:
        """Evaluations still to be made."""
        return self._total - self.finished

    @property
    def _total(self) -> int:
        return self._planned + self.extras

    @property
    def rate(self) -> float:
        """Completions per second, from this run's first to its latest; NaN below two."""
        count = self.finished - self._initial
        span = self._last - self._first
        return (count - 1) / span if count > 1 and span > 0 else math.nan

    def resume(self, index: int, result: float) -> None:
        """Count an evaluation of an earlier run."""
        self._count(index, result)
        self._initial = len(self._results)

    def completed(self, index: int, result: float) -> None:
        """Count an evaluation of this run, and show it."""
        self._count(index, result)
        self._last = time.monotonic()
        self._first = self._first or self._last
        if self._quiet:
            return
        if self._bar is None and self._has_bar:
            self._bar = self._new_bar()
        if self._bar is not None:
            self._bar.total = self._total
            self._bar.set_postfix_str(self._state(), refresh=False)
            self._bar.update(len(self._results) - self._bar.n)
            return
        now = self._last
        if now - self._last_line >= _LINE_SECONDS or self.finished == self._total:
            self._last_line = now
            print(
                f"phs_mpi: {self.finished}/{self._total} evaluated, {self._state()}, "
                f"{now - self._begun:.0f} s",
                file=self._stream,
            )

    @cached_property
    def _has_bar(self) -> bool:
        # Once, not with each completion: it asks the system.
        return self._notebook or on_terminal(self._stream)

    def say(self, text: str) -> None:
        """Print one line, above the bar if there is one."""
        text = printable(text)
        if self._bar is not None:
            self._bar.write(f"phs_mpi: {text}", file=self._stream)
        else:
            print(f"phs_mpi: {text}", file=self._stream if not self._stream.closed else sys.stderr)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._stream.flush()

    def _count(self, index: int, result: float) -> None:
        before = self._results.get(index)
        self._results[index] = result
        if before is not None and not math.isnan(before):
            self.succeeded -= 1
        if self._repeats.most > 1:
            self._judge(index, result)
        if math.isnan(result):
            return
        self.succeeded += 1
        if self._repeats.most > 1:
            return
        if math.isnan(self.best) or self._sign * result < self._sign * self.best:
            self.best, self.best_index = result, index

    def _judge(self, index: int, result: float) -> None:
        """Find the best mean anew: another repeat may have made that of the best set worse."""
        number = self._repeats.set_of(index)
        found = self._sets.setdefault(number, {})
        found[self._repeats.repeat_of(index)] = result
        if len(found) < self._repeats.least:
            return
        mean = summarise(found).mean
        if math.isnan(mean):
            return
        self._means[number] = mean
        if number == self.best_index:
            self.best_index = min(self._means, key=lambda k: self._sign * self._means[k])
            self.best = self._means[self.best_index]
        elif self.best_index < 0 or self._sign * mean < self._sign * self.best:
            self.best, self.best_index = mean, number

    def _state(self) -> str:
        failed = self.finished - self.succeeded
        if self.best_index < 0:
            best = "no result yet"
        else:
            best = f"best {self.best:.6g} (set {self.best_index})"
        return best + (f", {failed} failed" if failed else "")

    def _new_bar(self):
        if self._notebook:
            with warnings.catch_warnings():
                # Without ipywidgets it draws the bar as text, which will do.
                warnings.simplefilter("ignore")
                from tqdm.auto import tqdm
        else:
            from tqdm import tqdm

        return tqdm(
            total=self._total,
            initial=self._initial,
            file=self._stream,
            unit="set",
            dynamic_ncols=True,
            mininterval=0.2,
        )
