"""The time of a run: when evaluations should be over, and when they have to be."""

from __future__ import annotations

import math
import time

from phs_mpi.backends.jobtime import ENDLESS, JobTime


def test_half_of_the_margin_is_for_what_takes_longer_than_expected():
    now = time.monotonic()
    job = JobTime(end=now + 100, margin=30)
    assert job.last == now + 70
    assert job.latest == now + 85
    assert not job.over
    assert 84 < job.in_reach(1000) <= 85
    assert job.in_reach(10) == 10
    late = JobTime(end=now + 10, margin=30)  # 5 s ago it should have been over
    assert late.last < now
    assert late.over
    assert late.in_reach(60) == 0
    assert not JobTime(end=now + 20, margin=30).over


def test_without_an_end_nothing_is_over():
    assert ENDLESS.latest == math.inf
    assert not ENDLESS.over
    assert ENDLESS.in_reach(60) == 60
