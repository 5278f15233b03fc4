"""What each worker of a node gets of it: its GPUs, and the threads that its libraries start.

It is decided before the target's module is imported, since CUDA and linear algebra read their
environment once. Processes that a worker starts inherit it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..hosts import this_host
from . import gpus, threads

if TYPE_CHECKING:
    from mpi4py import MPI


class Place(NamedTuple):
    """What one process gets.

    Attributes
    ----------
    devices : dict of str to str
        Variables to set, for its GPUs.
    count : float or None
        GPUs it has; a part of one that it shares. None: nothing is known, or was changed.
    threads : int or None
        Threads of its libraries. None: they are left alone.
    among : int
        GPUs that are shared out on its node; 0 if none are.
    """

    devices: Mapping[str, str] = {}  # nobody changes it
    count: float | None = None  # type: ignore[assignment]  # hides tuple.count
    threads: int | None = None
    among: int = 0


class Finding(NamedTuple):
    """What a process finds, from which the places on its node follow.

    Attributes
    ----------
    seen : Seen
    cores : Cores
    works : bool
        Whether it evaluates.
    sets_threads : bool
        Whether the user has left the number of threads to us.
    """

    seen: gpus.Seen
    cores: threads.Cores
    works: bool = True
    sets_threads: bool = True

    @classmethod
    def here(cls, works: bool = True) -> Finding:
        seen, cores = gpus.Seen.by_this_process(), threads.Cores.of_this_process()
        return cls(seen, cores, works, threads.left_to_us())


def decide(findings: Sequence[Finding], wanted: float | str | None, host: str) -> list[Place]:
    """The places of all processes of one node, from what each of them finds.

    Raises
    ------
    BackendError
        If there are too few GPUs.
    """
    workers = [finding for finding in findings if finding.works]
    dealt = gpus.deal([worker.seen for worker in workers], wanted, host)
    numbers = threads.of_each([worker.cores for worker in workers])
    devices = {name for worker in workers for name in worker.seen.identity}
    rest = iter(zip(dealt, numbers, strict=True))
    places = []
    for finding in findings:
        if finding.works:
            gets, number = next(rest)
            own = number if finding.sets_threads else None
            places.append(Place(*gets, own, len(devices) if gets.devices and gets.share else 0))
        elif wanted == gpus.ALL or not (finding.seen.named or any(gets.devices for gets in dealt)):
            places.append(Place())
        else:  # it evaluates nothing
            places.append(Place(finding.seen.part(())))
    return places


@contextlib.contextmanager
def applied(place: Place) -> Iterator[None]:
    """Inside, this process has its place; after it its environment is what it was."""
    before = {name: os.environ.get(name) for name in [*place.devices, *threads.VARIABLES]}
    undo = apply(place)
    try:
        yield
    finally:
        for action in undo:
            action()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def apply(place: Place) -> list[Callable[[], None]]:
    """Take the place, for what this process loads and starts; returns what undoes the threads."""
    os.environ.update(place.devices)
    if place.threads is None:
        return []
    return list(threads.limit_loaded(threads.set_variables(place.threads), place.threads))


def of_processes(workers: int, wanted: Any) -> list[Place]:
    """The places of worker processes that this one starts.

    Raises
    ------
    BackendError
        If there are too few GPUs.
    """
    found = [Finding.here()] * workers
    return decide(found, gpus.amount(wanted), this_host())


def of_rank(world: MPI.Comm, wanted: Any) -> Place:
    """The place of this rank; called on all of them.

    Raises
    ------
    BackendError
        On the ranks of a node that has too few GPUs.
    """
    from mpi4py import MPI

    wanted = gpus.amount(wanted)
    node = world.Split_type(MPI.COMM_TYPE_SHARED, key=world.Get_rank())
    try:
        found = node.allgather(Finding.here(works=world.Get_rank() != 0))
        return decide(found, wanted, this_host())[node.Get_rank()]
    finally:
        node.Free()


def remark_of_ranks(world: MPI.Comm, place: Place) -> list[str]:
    """What rank 0 says of the workers' places; called on all ranks."""
    all_of_them = world.gather((this_host(), place), root=0)
    if all_of_them is None:
        return []
    return remark(all_of_them[1:])


def remark(of_workers: Sequence[tuple[str, Place]]) -> list[str]:
    """What to say of the workers' places, a line or none.

    Parameters
    ----------
    of_workers : sequence of (str, Place)
        Node and place of each.
    """
    hosts = {host for host, _ in of_workers}
    places = [place for _, place in of_workers]
    counts = sorted({place.count for place in places if place.count is not None})
    numbers = sorted({place.threads for place in places if place.threads is not None})
    words = []
    if counts:
        words.append(_range(counts, "GPU"))
    if numbers and numbers[-1] > 1:
        words.append(_range(numbers, "thread"))
    if not words:
        return []
    line = f"{' and '.join(words)} a worker on {len(hosts)} node{'s' if len(hosts) > 1 else ''}"
    idle = 0
    for host in hosts:
        here = [place for name, place in of_workers if name == host]
        if all(place.among for place in here):
            idle += here[0].among - round(sum(place.count or 0 for place in here))
    return [line + (f"; {_range([idle], 'GPU')} idle" if idle > 0 else "")]


def _range(numbers: Sequence[float], what: str) -> str:
    low, high = numbers[0], numbers[-1]
    text = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
    return f"{text} {what}{'' if high <= 1 and high > 0 else 's'}"
