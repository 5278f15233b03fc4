from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phs_mpi.backends import gpus
from phs_mpi.backends.gpus import Seen, amount, deal
from phs_mpi.errors import BackendError

CUDA, HIP, ROCR, ZE = gpus.CUDA, gpus.HIP, gpus.ROCR, gpus.LEVEL_ZERO


def seen(**environ):
    return Seen.by_this_process(environ, driver=gpus.Path("/nowhere"))


@pytest.mark.parametrize(
    ("environ", "lists"),
    [
        ({}, {}),
        ({CUDA: "0,1"}, {CUDA: ["0", "1"]}),
        ({CUDA: "GPU-8f, MIG-1/2"}, {CUDA: ["GPU-8f", "MIG-1/2"]}),
        ({CUDA: ""}, {}),
        ({CUDA: "-1"}, {}),
        ({CUDA: "NoDevFiles"}, {}),
        ({CUDA: "0,-1,1"}, {CUDA: ["0"]}),  # what follows a number that is none is hidden
        ({HIP: "2,3"}, {HIP: ["2", "3"]}),
        # HIP counts what ROCR leaves: to filter twice would be to lose devices
        ({HIP: "2,3", ROCR: "0,1,2,3"}, {HIP: ["2", "3"]}),
        ({ROCR: "2,3"}, {ROCR: ["2", "3"]}),
        ({CUDA: "", ROCR: "2,3"}, {}),
        # SLURM sets them all on any node
        ({CUDA: "0,1", ROCR: "0,1", ZE: "0,1"}, {CUDA: ["0", "1"], ZE: ["0", "1"]}),
        ({"SLURM_JOB_GPUS": "1,3"}, {CUDA: ["1", "3"]}),
        ({"SLURM_JOB_GPUS": "0-3", "SLURM_STEP_GPUS": "2-3"}, {CUDA: ["2", "3"]}),
        ({"SLURM_JOB_GPUS": "0-3", CUDA: "-1"}, {}),
        ({"SLURM_JOB_GPUS": "gpu:0"}, {}),
    ],
)
def test_what_is_seen(environ, lists):
    assert seen(**environ).lists == lists


def test_the_driver_counts_where_nothing_is_named(tmp_path):
    for name in ("0000:01:00.0", "0000:41:00.0"):
        (tmp_path / name).mkdir()
    found = Seen.by_this_process({}, tmp_path)
    assert (found.lists, found.named, found.count) == ({CUDA: ["0", "1"]}, False, 2)
    assert not Seen.by_this_process({"SLURM_JOB_ID": "1"}, tmp_path).lists
    assert not Seen.by_this_process({CUDA: ""}, tmp_path).lists
    # Nobody has spoken of GPUs: too few are no error, but enough of them are dealt out.
    assert deal([found] * 3, None, "n1") == [({}, None)] * 3
    assert deal([found] * 2, None, "n1") == [({CUDA: "0"}, 1), ({CUDA: "1"}, 1)]
    with pytest.raises(BackendError, match="2 GPUs"):
        deal([found] * 3, 1.0, "n1")


@pytest.mark.parametrize(
    ("devices", "workers", "wanted", "expected"),
    [
        ("0,1,2,3", 4, None, ["0", "1", "2", "3"]),
        ("0,1,2,3", 2, None, ["0,1", "2,3"]),
        ("0,1,2,3", 3, None, ["0", "1", "2"]),
        ("4,5,6,7", 2, 1.0, ["4", "5"]),
        ("GPU-a,GPU-b", 2, None, ["GPU-a", "GPU-b"]),
        ("0,1", 4, 0.5, ["0", "1", "0", "1"]),
        ("0,1", 3, 0.5, ["0", "1", "0"]),
        ("0", 3, 0.33, ["0", "0", "0"]),
        ("0,1", 2, 0.0, ["-1", "-1"]),
    ],
)
def test_dealing(devices, workers, wanted, expected):
    dealt = deal([seen(**{CUDA: devices})] * workers, wanted, "n1")
    assert [each.devices[CUDA] for each in dealt] == expected
    for each in dealt:
        shared = expected.count(each.devices[CUDA])
        assert each.share == (0 if wanted == 0 else len(each.devices[CUDA].split(",")) / shared)


def test_all_of_them_see_all():
    assert deal([seen(**{CUDA: "0,1"})] * 3, "all", "n1") == [({}, None)] * 3


def test_all_variables_are_dealt_alike():
    found = seen(**{CUDA: "4,5", HIP: "4,5", ZE: "0,1"})
    assert deal([found] * 2, None, "n1")[1].devices == {CUDA: "5", HIP: "5", ZE: "1"}


def values(seen_by_each, wanted):
    """The list each worker ends up with, and how many that is."""
    dealt = deal(seen_by_each, wanted, "n1")
    lists = [",".join(each.lists[CUDA]) for each in seen_by_each]
    return [(d.devices.get(CUDA, had), d.share) for d, had in zip(dealt, lists, strict=True)]


def test_what_the_launcher_has_dealt_is_left_alone():
    dealt = [seen(**{CUDA: "0,1"}), seen(**{CUDA: "2,3"})]
    assert values(dealt, None) == values(dealt, 2.0) == [("0,1", 2), ("2,3", 2)]
    assert values(dealt, 1.0) == [("0", 1), ("2", 1)]
    with pytest.raises(BackendError, match=r"given 1 worker on n1 2 GPUs.*--gpus-per-task"):
        deal(dealt, 3.0, "n1")
    # With control groups each task sees a device 0, which is not the same one.
    grouped = [seen(**{CUDA: "0", "SLURM_STEP_GPUS": name}) for name in "13"]
    assert values(grouped, None) == [("0", 1), ("0", 1)]


def test_workers_bound_to_the_same_ones_share_these_out():
    """As with srun --gpu-bind=closest."""
    near = [seen(**{CUDA: devices}) for devices in ("0,1", "2,3", "0,1", "2,3")]
    assert values(near, None) == [("0", 1), ("2", 1), ("1", 1), ("3", 1)]


def test_workers_that_the_launcher_lets_share_do():
    """As with srun --gpu-bind=single:2, or a map of masks that overlap."""
    single = [seen(**{CUDA: device}) for device in "0110"]
    assert values(single, None) == values(single, 0.5) == [(device, 0.5) for device in "0110"]
    with pytest.raises(BackendError, match="--gpus-per-worker 1: the launcher has given 2 workers"):
        deal(single, 1.0, "n1")
    masks = [seen(**{CUDA: devices}) for devices in ("0,1", "1,2")]
    assert values(masks, None) == [("0,1", 2), ("1,2", 2)]


@pytest.mark.parametrize(
    ("devices", "workers", "wanted", "words"),
    [
        ("0,1", 3, None, "3 workers on n1 would share 2 GPUs .*--gpus-per-worker 0.5 .*-worker 0 "),
        ("0", 3, None, "no more than 1 there .*--gpus-per-worker 0.333 "),
        ("0,1", 2, 2.0, "--gpus-per-worker 2 for 2 workers on n1.* 2 GPUs .*--gpus-per-worker 1$"),
        ("0,1", 5, 0.5, "--gpus-per-worker 0.5 for 5 workers.*--gpus-per-worker 0.333$"),
        (None, 1, 1.0, "--gpus-per-worker 1 for 1 worker on n1, but no GPU is named"),
    ],
)
def test_too_few_is_one_clear_error(devices, workers, wanted, words):
    environ = {} if devices is None else {CUDA: devices}
    with pytest.raises(BackendError, match=words):
        deal([seen(**environ)] * workers, wanted, "n1")


@given(
    st.integers(1, 16),
    st.integers(1, 20),
    st.one_of(st.none(), st.integers(1, 4).map(float), st.floats(0.01, 0.99)),
)
def test_no_device_is_shared_by_more_than_asked_and_a_remedy_works(devices, workers, wanted):
    found = [seen(**{CUDA: ",".join(map(str, range(devices)))})] * workers
    try:
        dealt = deal(found, wanted, "n1")
    except BackendError as error:
        remedy = amount(error.remedy.split("--gpus-per-worker ")[1].split()[0])
        assert deal(found, remedy, "n1")
        return
    lists = [each.devices[CUDA] for each in dealt]
    used = [device for each in lists for device in each.split(",")]
    most = max(used.count(device) for device in used)
    assert most == 1 if wanted is None or wanted >= 1 else most <= 1 / wanted + 1e-9
    assert len({each.count(",") for each in lists}) == 1
    assert sum(each.share for each in dealt) == pytest.approx(len(set(used)))


def test_amounts():
    assert [amount(text) for text in (None, "all", "2", "0.5", 0)] == [None, "all", 2.0, 0.5, 0.0]


@pytest.mark.parametrize("text", ["1.5", "-1", "two", "nan", "inf", True, [1]])
def test_what_is_no_amount(text):
    with pytest.raises(BackendError, match=r"no number of GPUs.*give 1, 2"):
        amount(text)
