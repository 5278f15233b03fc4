"""Which hosts are drained, and which never are."""

from __future__ import annotations

import socket

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phs_mpi.hosts import Hosts, this_host


@pytest.fixture
def hosts():
    """Workers 0 and 1 on host a, 2 on b, 3 on c."""
    made = Hosts(3)
    for worker, host in enumerate("aabc"):
        made.join(worker, host)
    return made


def ran(hosts, worker, failed):
    hosts.began(worker)
    return hosts.ended(worker, failed)


def test_one_that_fails_while_others_do_not(hosts):
    said = ""
    for _ in range(20):
        ran(hosts, 0, False)
        ran(hosts, 3, False)
        said = ran(hosts, 2, True)
        if said:
            break
    assert hosts.drained == {"b"}
    assert "host b gets nothing more: " in said
    assert "evaluations in a row have failed there, and 0 of " in said
    assert hosts.is_drained(2)
    assert not hosts.is_drained(3)
    assert dict(hosts.working()) == {"a": {0, 1}, "c": {3}}
    assert ran(hosts, 2, True) == ""  # it is said once


def test_a_success_ends_the_row(hosts):
    for k in range(30):
        ran(hosts, 0, False)
        ran(hosts, 3, False)
        assert not ran(hosts, 2, k % 3 < 2)
    assert not hosts.drained


def test_where_everything_fails_nobody_is_to_blame(hosts):
    for _ in range(50):
        for worker in range(4):
            assert not ran(hosts, worker, True)


def test_what_others_had_begun_before_says_nothing(hosts):
    # A region of failures begins: one host gets through it quickly, while the others are still at
    # what they had begun.
    for worker in (0, 1, 3):
        hosts.began(worker)
    for _ in range(100):
        assert not ran(hosts, 2, True)
    for worker in (0, 1, 3):
        hosts.ended(worker, failed=False)
    assert not ran(hosts, 2, True)


def test_the_last_host_stays(hosts):
    for worker in (0, 1, 3):
        hosts.leave(worker)
    for _ in range(100):
        assert not ran(hosts, 2, True)


def test_zero_means_never():
    hosts = Hosts(0)
    for worker, host in enumerate("ab"):
        hosts.join(worker, host)
    for _ in range(200):
        ran(hosts, 0, False)
        assert not ran(hosts, 1, True)


def test_drained_ones_are_needed_when_the_others_are_gone(hosts):
    while not hosts.drained:
        ran(hosts, 0, False)
        ran(hosts, 2, True)
    assert not hosts.leave(0)
    assert not hosts.leave(1)
    assert hosts.leave(3)
    assert not hosts.is_drained(2)


def test_unknown_hosts_are_each_a_host_of_their_own():
    hosts = Hosts()
    hosts.join(1, "")
    hosts.join(2, "")
    assert hosts.of(1) != hosts.of(2)
    hosts.leave(9)
    hosts.leave(1)
    hosts.join(1, "a")
    hosts.join(1, "")
    assert hosts.of(1) == "a"


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 0.9), st.integers(2, 6), st.integers(1, 8))
def test_chance_alone_drains_nobody(seed, rate, count, in_a_row):
    # Sets fail by their values, at any rate, on whichever host gets them.
    draw = np.random.default_rng(seed)
    hosts = Hosts(in_a_row)
    for worker in range(count):
        hosts.join(worker, f"n{worker}")
        hosts.began(worker)
    drained = 0
    for _ in range(2000):
        worker = int(draw.integers(count))
        drained += bool(hosts.ended(worker, bool(draw.random() < rate)))
        hosts.began(worker)
    # The chance is small, and for one in a run at the very most.
    assert drained <= 1
    assert len(hosts.drained) < count


def test_the_name_of_this_machine():
    assert this_host() == socket.gethostname()
