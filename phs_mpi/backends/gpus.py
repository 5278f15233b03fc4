"""Which GPUs a worker sees: those of its node are dealt out, and no two workers share one unasked.

What a process may see stands in the variables below, as SLURM or the user has set them. They are
lists of numbers or names (``0,1``, ``GPU-8f1c…``, ``MIG-…``), from which each worker gets its part.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import BackendError

CUDA, HIP = "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"
ROCR, LEVEL_ZERO = "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"

#: The value that hides all devices. Some libraries take an empty one for none, some for all.
NONE = "-1"

#: Where SLURM names the devices of a step and of a job, counted from the node's first one.
SLURM_LISTS = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS")

#: Where NVIDIA's driver lists the machine's GPUs.
DRIVER = Path("/proc/driver/nvidia/gpus")

OPTION = "--gpus-per-worker"
ALL = "all"


class Seen(NamedTuple):
    """The GPUs that a process sees.

    Attributes
    ----------
    lists : dict of str to list of str
        By variable, the devices it names; the first variable counts. Empty: no GPU is known of.
    identity : tuple of str
        What tells the devices of one process from those of another on this node.
    named : bool
        Whether the environment names them; else the driver does.
    """

    lists: dict[str, list[str]]
    identity: tuple[str, ...] = ()
    named: bool = True

    @classmethod
    def by_this_process(
        cls, environ: Mapping[str, str] = os.environ, driver: Path = DRIVER
    ) -> Seen:
        """What the environment names, else what the driver lists.

        CUDA's and HIP's variables stand for each other, where both are read. ROCR's filters
        what they count, so it is left alone beside them. SLURM sets them all on any node.
        """
        lists = {name: found for name in (CUDA, HIP) if (found := _split(environ.get(name)))}
        if not lists and not environ.keys() & {CUDA, HIP} and (found := _split(environ.get(ROCR))):
            lists = {ROCR: found}
        if found := _split(environ.get(LEVEL_ZERO)):
            lists[LEVEL_ZERO] = found
        by_slurm = [found for name in SLURM_LISTS if (found := _numbers(environ.get(name, "")))]
        if not lists and by_slurm and not environ.keys() & {CUDA, HIP, ROCR}:
            lists = {CUDA: by_slurm[0]}
        if lists:
            first = next(iter(lists.values()))
            # Where each task has a control group of its own, all of them see a device 0.
            whole = [found for found in by_slurm[:1] if len(found) == len(first)]
            return cls(lists, tuple(whole[0] if whole else first))
        # A job to which SLURM has given none sees in the driver's list what it may not use.
        if environ.keys() & {CUDA, HIP, ROCR, "SLURM_JOB_ID"} or not driver.is_dir():
            return cls({})
        numbers = [str(number) for number, _ in enumerate(driver.iterdir())]
        return cls({CUDA: numbers} if numbers else {}, tuple(numbers), named=False)

    @property
    def count(self) -> int:  # type: ignore[override]  # hides tuple.count
        """Number of devices."""
        return len(self.identity)

    def __str__(self) -> str:
        if not self.lists:
            return "no GPU is named in CUDA_VISIBLE_DEVICES"
        name, devices = next(iter(self.lists.items()))
        what = f"{name}={','.join(devices)}" if self.named else f"{DRIVER}"
        return f"{self.count} GPU{'s' if self.count > 1 else ''} ({what})"

    def part(self, positions: Sequence[int]) -> dict[str, str]:
        """The variables of a process that gets the devices at these positions."""
        return {
            name: ",".join(devices[position] for position in positions) if positions else NONE
            for name, devices in self.lists.items()
            if len(devices) == self.count and (positions or name != LEVEL_ZERO)
        }


def amount(value: Any) -> float | str | None:
    """What ``--gpus-per-worker`` says: GPUs of a worker, ``"all"``, or None if it says nothing.

    Raises
    ------
    BackendError
        If it is none of them.
    """
    if value is None or value == ALL:
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (0 <= number < 1 or (number > 0 and number.is_integer())) or isinstance(value, bool):
        raise BackendError(
            f"{OPTION} {value} is no number of GPUs",
            value=value,
            remedy="give 1, 2, …; a fraction, as 0.5, of one that workers share; 0 for none; or "
            "all, for workers that each see all",
        )
    return number


class Dealt(NamedTuple):
    """What a worker gets.

    Attributes
    ----------
    devices : dict of str to str
        The variables to set; empty if nothing has to change.
    share : float or None
        GPUs it has then; a part of one that it shares. None: that is not known.
    """

    devices: dict[str, str]
    share: float | None = None


def deal(seen: Sequence[Seen], wanted: float | str | None, host: str) -> list[Dealt]:
    """What each worker of one node gets.

    Parameters
    ----------
    seen : sequence of Seen
        What each worker of the node sees now.
    wanted : float, "all" or None
        GPUs of each, see :func:`amount`. None: as many as there are for each, and none shared.
    host : str
        Name of the node, for messages.

    Raises
    ------
    BackendError
        If there are too few.
    """
    if wanted == ALL:
        return [Dealt({}) for _ in seen]
    if wanted == 0:
        return [Dealt(each.part(()), 0.0 if each.lists else None) for each in seen]
    groups: dict[tuple[str, ...], list[int]] = {}
    for position, each in enumerate(seen):
        groups.setdefault(each.identity, []).append(position)
    # Several: the launcher has bound tasks to devices, for good reasons.
    apart = sum(map(len, groups)) == len(set().union(*groups))
    dealt = [Dealt({})] * len(seen)
    for members in groups.values():
        theirs = [seen[position] for position in members]
        as_bound = len(groups) > 1 and not (apart and _enough(theirs[0].count, len(theirs), wanted))
        parts = (_as_bound if as_bound else _deal_alike)(theirs, wanted, host)
        for position, part in zip(members, parts, strict=True):
            dealt[position] = part
    return dealt


def _deal_alike(seen: Sequence[Seen], wanted: float | str | None, host: str) -> list[Dealt]:
    """Deal to workers that all see the same."""
    workers, first = len(seen), seen[0]
    if wanted is None and not first.count:
        return [Dealt({}) for _ in seen]
    if wanted is None and first.count < workers and not first.named:
        return [Dealt({}) for _ in seen]  # nobody has spoken of GPUs: the target may need none
    if not _enough(first.count, workers, wanted):
        raise _too_few(first, workers, wanted, host)
    size = first.count // workers if wanted is None else int(float(wanted))
    if size:
        return [
            Dealt(each.part(range(number * size, (number + 1) * size)), float(size))
            for number, each in enumerate(seen)
        ]
    places = [number % first.count for number in range(workers)]
    return [
        Dealt(each.part([place]), 1 / places.count(place))
        for each, place in zip(seen, places, strict=True)
    ]


def _enough(count: int, workers: int, wanted: float | str | None) -> bool:
    if wanted is None:
        return count >= workers
    wanted = float(wanted)
    if wanted >= 1:
        return count >= workers * wanted
    return count * math.floor(1 / wanted + 1e-9) >= workers


def _as_bound(seen: Sequence[Seen], wanted: float | str | None, host: str) -> list[Dealt]:
    """Leave workers what the launcher has bound them to, if that is what is wanted."""
    if wanted is not None and not _enough(seen[0].count, len(seen), wanted):
        raise BackendError(
            f"{OPTION} {wanted:g}: the launcher has given {len(seen)} worker"
            f"{'s' if len(seen) > 1 else ''} on {host} {seen[0]}",
            remedy="ask it for more (as with srun --gpus-per-task), or leave out this option",
        )
    return [Dealt({}, each.count / len(seen) if each.lists else None) for each in seen]


def _too_few(seen: Seen, workers: int, wanted: float | str | None, host: str) -> BackendError:
    who = f"{workers} worker{'s' if workers > 1 else ''} on {host}"
    if not seen.count:
        return BackendError(
            f"{OPTION} {wanted:g} for {who}, but {seen}",
            remedy="ask SLURM for some (as with --gpus-per-node), or set CUDA_VISIBLE_DEVICES",
        )
    sharing = math.ceil(workers / seen.count)
    most = seen.count // workers or math.floor(1000 / sharing) / 1000
    if wanted is None:
        return BackendError(
            f"{who} would share {seen}",
            remedy=f"start no more than {seen.count} there (rank 0 counts for none), or say "
            f"{OPTION} {most:g} if they may share, {OPTION} 0 if they need none",
        )
    return BackendError(
        f"{OPTION} {wanted:g} for {who}, but there {'are' if seen.count > 1 else 'is'} {seen}",
        remedy=f"start fewer workers there, or say {OPTION} {most:g}",
    )


def _split(text: str | None) -> list[str]:
    """The devices of a list; a number that is none hides those after it."""
    devices: list[str] = []
    for word in (text or "").split(","):
        word = word.strip()
        if not word or word.startswith("-") or word == "NoDevFiles":
            break
        devices.append(word)
    return devices


def _numbers(text: str) -> list[str]:
    """The numbers of a list as SLURM writes it: 0,1 or 0-3."""
    numbers: list[str] = []
    for word in filter(None, text.split(",")):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", word)
        if match is None:
            return []
        low, high = int(match[1]), int(match[2] or match[1])
        numbers += map(str, range(low, high + 1))
    return numbers
