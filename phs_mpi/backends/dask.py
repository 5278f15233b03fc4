"""The dask backend: workers of a Dask cluster, through futures of ``dask.distributed``.

One coroutine drives each Dask worker: it sends the experiment, then one task after the other,
pinned to that worker. A worker keeps its log and its surrogate from one proposal to the next and
gets only what is new in the log. Another coroutine looks which workers there are.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeout
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from distributed import KilledWorker
from distributed.comm import CommClosedError

from ..depth import Depth, Level
from ..errors import BackendError, PhsError
from ..evaluation import evaluation_folder
from ..experiment import Experiment
from ..log import Log, Proposal
from . import base, client, remote, shipping
from .dask_cluster import connect, mismatches, silence
from .job import Job

#: Seconds between two looks at which workers there are.
WATCH_SECONDS = 0.5

#: Sets that a worker gets in one task when all are so short.
BATCH, SHORT = 16, 2e-3

#: Times that a worker may be lost while it evaluates a set before the set is given up.
MOST_LOSSES = 3


class SchedulerLost(BackendError):
    """The scheduler does not answer any more."""

    exit_status = 70


class _Given:
    """What a worker was given in one go, by lane."""

    def __init__(self, indices: dict[int, int], log_length: int = 0, bayesian: bool = False):
        self.indices = indices
        self.log_length = log_length
        self.bayesian = bayesian
        self.proposal: Proposal | None = None
        self.began = time.time()


class _Slot:
    """One Dask worker, and what the client knows of it.

    Attributes
    ----------
    lanes : set of int
        What the schedule takes for workers; several while evaluations are very short.
    """

    def __init__(self, number: int, address: str, lane: int):
        self.number = number
        self.address = address
        self.host = urlsplit(address).hostname or address
        self.lanes = {lane}
        self.first = lane
        self.depth = Depth(Level(BATCH, SHORT))
        self.inbox: asyncio.Queue[_Given] = asyncio.Queue()
        self.current: _Given | None = None
        self.ready = False
        self.told = 0  # entries of the log that it has
        self.idle_since = time.perf_counter()
        self.task: asyncio.Task | None = None


class DaskTransport:
    """Workers of a Dask cluster; see :class:`phs_mpi.backends.client.Transport`.

    Parameters
    ----------
    options : Options
        Which scheduler, and how long to wait.
    job : Job
        What to run.
    log : Log
        The client's log, which the loop appends to.

    Raises
    ------
    BackendError
        If no scheduler answers.
    """

    workers = 0  # they announce themselves

    def __init__(self, options: base.Options, job: Job, log: Log):
        self._job = job
        self._log = log
        self._timeout = options.dask_timeout
        self._quiet = options.quiet
        self._slots: dict[str, _Slot] = {}  # by address
        self._lanes: dict[int, _Slot] = {}
        self._batches: dict[_Slot, dict[int, int]] = {}
        self._refused: set[str] = set()
        self._losses: Counter[int] = Counter()
        self._started = 0  # slots
        self._left = len(job.missing)
        self._any_ready = False
        self._alone_since = time.monotonic()
        self._events: queue.SimpleQueue[client.TransportEvent | BaseException] = queue.SimpleQueue()
        self._cleanup = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            self._marker = job.output.absolute().with_name(f".{job.output.name}.run")
            stack.callback(self._marker.unlink, missing_ok=True)
            self._shipment = shipping.pack_with_files(
                job.experiment, job.table, job.output, self._marker
            )
            self._client, self._owned = stack.enter_context(connect(options))
            self._cleanup = stack.pop_all()
        loop: Any = self._client.loop
        self._loop: asyncio.AbstractEventLoop = loop.asyncio_loop
        self._watcher = asyncio.run_coroutine_threadsafe(self._watch(), self._loop)

    def start(self, worker: int, index: int, log_length: int) -> None:
        """Let a worker propose and evaluate a set; drawn ones leave with :meth:`events`."""
        slot = self._lanes[worker]
        if self._job.table.bayesian(index):
            self._give(slot, _Given({worker: index}, log_length, bayesian=True))
        else:
            self._batches.setdefault(slot, {})[worker] = index

    def events(self) -> Iterator[client.TransportEvent]:
        """What happened since the last call; waits a moment for something."""
        for slot, batch in self._batches.items():
            self._give(slot, _Given(batch))
        self._batches.clear()
        try:
            event = self._events.get(timeout=WATCH_SECONDS)
        except queue.Empty:
            return
        while True:
            if isinstance(event, BaseException):
                raise event
            yield event
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                return

    def close(self) -> None:
        """Let idle workers clean up; nothing more is sent to those that are busy."""
        farewell = asyncio.run_coroutine_threadsafe(self._farewell(), self._loop)
        with contextlib.suppress(asyncio.TimeoutError, FutureTimeout, CancelledError, OSError):
            farewell.result(timeout=5)
        self._cleanup.close()

    # -- in the thread of the event loop ---------------------------------------------------

    def _give(self, slot: _Slot, given: _Given) -> None:
        self._loop.call_soon_threadsafe(slot.inbox.put_nowait, given)

    async def _watch(self) -> None:
        """Find workers that have joined or left, until the scheduler is lost."""
        try:
            while True:
                await self._look()
                await asyncio.sleep(WATCH_SECONDS)
        except asyncio.CancelledError:
            raise
        except OSError:
            self._scheduler_lost()
        except Exception as error:
            self._events.put(error)

    async def _look(self) -> None:
        asking: Any = self._client.nthreads()
        present = await asking
        for slot in list(self._slots.values()):
            if slot.address not in present:
                self._leave(slot)
        new = [a for a in present if a not in self._slots and a not in self._refused]
        if new:
            await self._welcome(new, present)
        if self._slots:
            self._alone_since = time.monotonic()
        elif time.monotonic() - self._alone_since > self._timeout:
            raise BackendError(
                f"no worker has joined the Dask scheduler at {self._address} within "
                f"{self._timeout:g} s",
                value=self._address,
                remedy=f"start some with `dask worker {self._address}`, or give them more time "
                "with --dask-timeout",
            )

    @property
    def _address(self) -> str:
        return self._client.scheduler.address

    async def _welcome(self, new: list[str], present: dict[str, int]) -> None:
        found = await mismatches(self._client, new)
        for address, problem in found.items():
            if problem and not self._any_ready:
                raise BackendError(
                    f"the Dask worker at {address} does not fit: {problem}",
                    value=address,
                    remedy="install the same versions there and here",
                )
            if problem:
                self._refuse(address, problem)
        fit = [address for address, problem in found.items() if not problem]
        for address in fit:
            if self._owned:
                await self._client.run(
                    remote.ignore_interrupts, workers=[address], on_error="ignore"
                )
            slot = _Slot(self._started + 1, address, len(self._lanes))
            self._started += 1
            self._slots[address] = self._lanes[slot.first] = slot
            slot.task = asyncio.ensure_future(self._drive(slot))
        if fit and not self._quiet:
            several = " (of several threads: each evaluates one set at a time)"
            threads = several if any(present[a] > 1 for a in fit) else ""
            self._events.put(
                client.Remark(
                    f"{len(fit)} Dask worker{'s' if len(fit) > 1 else ''} joined at "
                    f"{self._address}{threads}"
                )
            )

    def _refuse(self, address: str, problem: str) -> None:
        self._refused.add(address)
        self._events.put(client.Remark(f"the Dask worker at {address} is left out: {problem}"))

    async def _drive(self, slot: _Slot) -> None:
        try:
            await self._call(slot, remote.prepare, self._shipment, slot.number)
        except PhsError as error:
            if not self._any_ready:
                place = f"the Dask worker at {slot.address} cannot load the experiment"
                self._events.put(BackendError(f"{place}: {error.message}", remedy=error.remedy))
            else:
                self._refuse(slot.address, error.message)
                self._leave(slot)
            return
        except (KilledWorker, CancelledError):
            self._leave(slot)
            return
        except CommClosedError:
            self._scheduler_lost()
            return
        except Exception as error:
            self._events.put(
                BackendError(
                    f"the Dask worker at {slot.address} cannot start: "
                    f"{type(error).__name__}: {error}",
                    remedy="see the worker's own log",
                )
            )
            return
        slot.ready = self._any_ready = True
        slot.idle_since = time.perf_counter()
        self._events.put(client.Joined(slot.first, slot.host))
        try:
            while True:
                slot.current = await slot.inbox.get()
                await self._see_to(slot, slot.current)
                slot.current = None
        except (remote.NotPrepared, KilledWorker, CancelledError):
            self._leave(slot)  # another process may have taken the place of the worker's
        except CommClosedError:
            self._scheduler_lost()
        except OSError as error:
            self._events.put(BackendError(f"on the Dask worker at {slot.address}: {error}"))
        except Exception as error:
            self._events.put(error)

    async def _call(self, slot: _Slot, function: Any, *arguments: Any) -> Any:
        return await self._client.submit(
            function, *arguments, workers=[slot.address], allow_other_workers=False, pure=False
        )

    async def _see_to(self, slot: _Slot, given: _Given) -> None:
        """Let the worker propose, if need be, and evaluate."""
        run, proposing = self._shipment.run, 0.0
        sets: list[Proposal | int] = list(given.indices.values())
        if given.bayesian:
            ((lane, index),) = given.indices.items()
            length = given.log_length
            news = remote.encode(self._log.entries(slot.told, length))
            slot.told = max(slot.told, length)
            proposal, proposing = await self._call(slot, remote.propose, run, index, length, news)
            self._events.put(client.Announced(lane, proposal))
            given.proposal, sets = proposal, [proposal]
        given.began = time.time()
        deliveries = await self._call(slot, remote.evaluate, run, sets, SHORT)
        now = time.perf_counter()
        durations = [d.outcome.end - d.outcome.start for d in deliveries]
        idle = max(0.0, now - slot.idle_since - sum(durations) - proposing)
        slot.idle_since = now
        self._left -= len(deliveries)
        share = self._left // max(1, len(self._slots))
        depth = slot.depth.after([d + proposing for d in durations], share)
        lanes = list(given.indices)
        for lane, delivery in zip(lanes, deliveries, strict=False):
            self._keep_files(delivery)
            delivery.outcome.proposing = proposing
            delivery.outcome.waiting = idle / len(deliveries)
            leaves = depth == 1 and lane != slot.first
            if leaves:
                slot.lanes.discard(lane)
            self._events.put(client.Completed(lane, delivery.proposal, delivery.outcome, leaves))
        for lane in lanes[len(deliveries) :]:  # one before them took its time
            slot.lanes.discard(lane)
            self._events.put(client.Left(lane))
        while len(slot.lanes) < depth:
            lane = slot.first if slot.first not in slot.lanes else len(self._lanes)
            self._lanes[lane] = slot
            slot.lanes.add(lane)
            self._events.put(client.Joined(lane, slot.host))

    def _keep_files(self, delivery: remote.Delivery) -> None:
        parent = base.evaluations_folder(self._job.output)
        folder = evaluation_folder(parent, delivery.proposal.index, self._job.table.repeats)
        try:
            for name, raw in delivery.files.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(raw)
        except OSError as error:  # the result counts all the same
            outcome, lost = delivery.outcome, f"its files are not all kept: {error.strerror}"
            outcome.error = f"{outcome.error}; {lost}" if outcome.error else lost
        if delivery.left_behind:
            self._events.put(
                client.Remark(
                    f"evaluation {folder.name}: its files are too large to be sent and "
                    f"stay in {delivery.left_behind}"
                )
            )

    def _leave(self, slot: _Slot) -> None:
        """A worker is gone: what it evaluated is evaluated again, unless that kills workers."""
        if self._slots.get(slot.address) is not slot:
            return
        del self._slots[slot.address]
        if slot.task is not None and slot.task is not asyncio.current_task():
            slot.task.cancel()
        if self._client.status != "running":
            self._scheduler_lost()
            return
        if not slot.ready:
            return
        lost = slot.current
        lanes = set(slot.lanes)
        if lost is not None and len(lost.indices) == 1:
            ((lane, index),) = lost.indices.items()
            self._losses[index] += 1
            if self._losses[index] >= MOST_LOSSES:
                lanes.discard(lane)
                error = f"the Dask worker died during this evaluation, {MOST_LOSSES} times"
                what = client.died(self._job, index, lost.proposal, error, lost.began, slot.number)
                self._events.put(client.Completed(lane, *what, leaves=True))
        for lane in lanes:
            self._events.put(client.Left(lane))
        text = f"the Dask worker at {slot.address} is gone"
        text += "; what it ran is run again" if lost is not None else ""
        self._events.put(client.Remark(text))

    def _scheduler_lost(self) -> None:
        self._events.put(
            SchedulerLost(
                f"the Dask scheduler at {self._address} is gone",
                value=self._address,
                remedy="start a cluster and give the same command again: completed evaluations "
                f"are in {self._job.output}",
            )
        )

    async def _farewell(self) -> None:
        self._watcher.cancel()
        idle = [s for s in self._slots.values() if s.ready and s.current is None]
        for slot in self._slots.values():
            if slot.task is not None:
                slot.task.cancel()
        if self._client.status == "running":
            if self._owned:
                silencing: Any = self._client.run(silence, on_error="ignore")
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(silencing, timeout=2)
            calls = [self._call(slot, remote.leave, self._shipment.run) for slot in idle]
            await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), timeout=2)


def run(path: Path | Experiment, options: base.Options) -> int:
    """Run an experiment on a Dask cluster; returns the exit status."""
    experiment = base.load_for(path, options)
    return client.run_client(experiment, options, "dask", partial(DaskTransport, options))
