from __future__ import annotations

import os

from phs_mpi.backends import gpus, threads
from phs_mpi.backends.placement import Finding, Place, applied, decide, remark

CUDA = gpus.CUDA


def finding(devices, works=True, cores=range(8), sets_threads=True):
    seen = gpus.Seen.by_this_process({CUDA: devices} if devices else {}, gpus.Path("/nowhere"))
    return Finding(seen, threads.Cores(frozenset(cores)), works, sets_threads)


def test_rank_0_evaluates_nothing_and_gets_nothing():
    places = decide([finding("0,1", works=False), *[finding("0,1")] * 2], None, "n1")
    theirs = [Place({CUDA: name}, 1, 4, among=2) for name in "01"]
    assert places == [Place({CUDA: "-1"}), *theirs]


def test_rank_0_alone_on_a_node():
    assert decide([finding("0,1", works=False)], None, "n1") == [Place({CUDA: "-1"})]


def test_nothing_is_changed_where_all_see_all():
    places = decide([finding("0,1", works=False), *[finding("0,1")] * 2], "all", "n1")
    assert [place.devices for place in places] == [{}, {}, {}]


def test_nothing_is_changed_where_there_are_no_gpus():
    places = decide([finding("", works=False), *[finding("")] * 4], None, "n1")
    assert places == [Place(), *[Place({}, None, 2)] * 4]


def test_what_the_user_says_of_threads_counts():
    places = decide([finding("", sets_threads=False)], None, "n1")
    assert places == [Place()]


def test_the_environment_is_restored(monkeypatch):
    monkeypatch.setenv(CUDA, "0,1")
    monkeypatch.delenv(gpus.LEVEL_ZERO, raising=False)
    with applied(Place({CUDA: "1", gpus.LEVEL_ZERO: "1"})):
        assert os.environ[CUDA] == os.environ[gpus.LEVEL_ZERO] == "1"
    assert os.environ[CUDA] == "0,1"
    assert gpus.LEVEL_ZERO not in os.environ


def test_remarks():
    assert remark([("n1", Place()), ("n1", Place(threads=1))]) == []
    two = Place({CUDA: "0,1"}, 2.0, 1, among=2)
    assert remark([("n1", two), ("n2", two)]) == ["2 GPUs a worker on 2 nodes"]
    assert remark([("n1", Place(count=0.5, threads=4)), ("n1", Place(count=1.0, threads=4))]) == [
        "0.5 to 1 GPU and 4 threads a worker on 1 node"
    ]
    assert remark([("n1", Place({CUDA: "-1"}, 0.0))]) == ["0 GPUs a worker on 1 node"]


def test_gpus_that_nobody_has_are_told():
    three = decide([finding("0,1,2,3", works=False), *[finding("0,1,2,3")] * 3], None, "n1")[1:]
    (line,) = remark([("n1", place) for place in three])
    assert line == "1 GPU and 2 threads a worker on 1 node; 1 GPU idle"
    shared = decide([finding("0,1,2")] * 2, 0.5, "n1")
    assert remark([("n1", place) for place in shared])[0].endswith("node; 1 GPU idle")
