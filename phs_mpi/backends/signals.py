"""Interrupts: a first one asks a run to stop, a second one stops it; and the end of its time."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator


class GraceOver(KeyboardInterrupt):
    """The time that running evaluations had to finish is over."""


class TimeOver(GraceOver):
    """The time that the whole run had is over."""


@contextlib.contextmanager
def interrupts(
    flag: Callable[[], None],
    grace: float = math.inf,
    *,
    again: bool = True,
    end: float = math.inf,
) -> Iterator[list[int]]:
    """Inside, the first interrupt (Ctrl-C, SIGTERM, SIGUSR1) calls `flag`.

    With `again` a second one raises KeyboardInterrupt; SIGUSR1 never does, since schedulers send
    it ahead of the end. `grace` seconds after the first, GraceOver is raised, and TimeOver at
    `end` (``time.monotonic()``) in any case. Signals reach the main thread only: in any other
    nothing is done.

    Yields
    ------
    list of int
        Numbers of the signals that have come.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def handle(number, frame):
        received.append(number)
        if len(received) > 1 and again and number != signal.SIGUSR1:
            raise KeyboardInterrupt
        if len(received) == 1 and grace < math.inf:
            ring_in(min(grace, end - time.monotonic()))
        flag()

    def ring_in(seconds):
        # Again and again: one might fall into a place that swallows it, such as a destructor.
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3), 1.0)

    def ring(number, frame):
        raise TimeOver if time.monotonic() >= end else GraceOver

    handlers = dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGUSR1), handle)
    rings = min(grace, end) < math.inf
    if rings:
        handlers[signal.SIGALRM] = ring
    before = {number: signal.signal(number, new) for number, new in handlers.items()}
    try:
        if end < math.inf:
            ring_in(end - time.monotonic())
        yield received
    finally:
        if end < math.inf or (received and rings):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, old in before.items():
            signal.signal(number, old)
