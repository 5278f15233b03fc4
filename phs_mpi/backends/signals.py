"""Interrupts: a first one asks a run to stop, a second one stops it."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
from collections.abc import Callable, Iterator


class GraceOver(KeyboardInterrupt):
    """The time that running evaluations had to finish is over."""


@contextlib.contextmanager
def interrupts(
    flag: Callable[[], None], grace: float = math.inf, *, again: bool = True
) -> Iterator[None]:
    """Inside, the first interrupt (Ctrl-C, SIGTERM) calls `flag`.

    With `again` a second one raises KeyboardInterrupt. `grace` seconds after the first,
    GraceOver is raised. Signals reach the main thread only: in any other nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    count = 0

    def handle(number, frame):
        nonlocal count
        count += 1
        if count > 1 and again:
            raise KeyboardInterrupt
        if count == 1 and grace < math.inf:
            signal.setitimer(signal.ITIMER_REAL, max(grace, 1e-3))
        flag()

    def end(number, frame):
        raise GraceOver

    handlers = dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGUSR1), handle)
    if grace < math.inf:
        handlers[signal.SIGALRM] = end
    before = {number: signal.signal(number, new) for number, new in handlers.items()}
    try:
        yield
    finally:
        if count and grace < math.inf:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, old in before.items():
            signal.signal(number, old)
