"""Which Dask cluster, and whether its workers fit."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster, Security, rpc
from distributed.versions import VersionMismatchWarning

from ..errors import BackendError
from .base import Options

#: Packages that have to be of the same version on the client and on a worker.
SAME = ("dask", "distributed")


@contextlib.contextmanager
def connect(options: Options) -> Iterator[tuple[Client, bool]]:
    """A client of the cluster that the options name, or of one of this machine's own.

    Yields
    ------
    client : distributed.Client
    owned : bool
        Whether the cluster was started for this run.

    Raises
    ------
    BackendError
        If no scheduler answers.
    """
    timeout = options.dask_timeout
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_quiet())
        owned = options.scheduler is None and options.scheduler_file is None
        if owned:
            # No limit on memory: a target may take what the machine has, as elsewhere.
            target: Any = stack.enter_context(
                LocalCluster(
                    n_workers=options.workers or len(os.sched_getaffinity(0)),
                    threads_per_worker=1,
                    processes=True,
                    memory_limit=0,
                    dashboard_address="127.0.0.1:0",  # any free port
                )
            )
        elif options.scheduler_file is not None:
            target = _address_in(options.scheduler_file, timeout)
        elif isinstance(options.scheduler, Client):
            target = options.scheduler.scheduler.address
        else:
            target = options.scheduler
        if isinstance(target, str):
            _find(target, begun, timeout)
        left = max(1.0, timeout - (time.monotonic() - begun))
        client = Client(target, timeout=left, set_as_default=False, name="phs_mpi")
        yield stack.enter_context(client), owned


def _find(address: str, begun: float, timeout: float) -> None:
    """Raise BackendError unless a scheduler answers at `address` before the time is over.

    A Client that cannot connect prints tracebacks of its own while it is taken apart.
    """

    async def ask() -> Any:
        arguments = Security().get_connection_args("client")
        async with rpc(address, connection_args=arguments) as scheduler:
            return await scheduler.identity()

    reason = ""
    try:
        while True:
            try:
                left = max(0.1, timeout - (time.monotonic() - begun))
                # In a thread: that of a notebook has an event loop already.
                with ThreadPoolExecutor(1) as thread:
                    asking = thread.submit(asyncio.run, asyncio.wait_for(ask(), left))
                    kind = asking.result().get("type")
                if kind == "Scheduler":
                    return
                reason = f": there is a Dask {kind}"
                break
            except OSError:  # refused: it may be about to start
                if time.monotonic() - begun > timeout:
                    raise
                time.sleep(0.2)
    except (OSError, TimeoutError, asyncio.TimeoutError):
        pass
    except (ValueError, TypeError, AttributeError) as error:
        reason = f": {error}"
    raise BackendError(
        f"no Dask scheduler answers at {address} (waited {time.monotonic() - begun:.0f} s){reason}",
        value=address,
        remedy="give the address that `dask scheduler` prints, as in --scheduler "
        "tcp://HOST:8786, or more time with --dask-timeout",
    )


def silence() -> dict[str, int]:
    """Let Dask's loggers in this process say nothing any more; returns the levels they had.

    Called by name in the workers of our own cluster before it is closed, too: a heartbeat that
    the end cuts short is a traceback there.
    """
    # Each has a level of its own, which Dask's configuration sets.
    names = [n for n in logging.root.manager.loggerDict if n.split(".")[0] == "distributed"]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Dask logs what we say in our own words, and warns of any difference in versions."""
    before = silence()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VersionMismatchWarning)
        try:
            yield
        finally:
            for name, level in before.items():
                logging.getLogger(name).setLevel(level)


async def mismatches(client: Client, addresses: Sequence[str]) -> dict[str, str]:
    """What of the software of some workers does not fit ours.

    Parameters
    ----------
    client : distributed.Client
    addresses : sequence of str
        Of workers.

    Returns
    -------
    dict of str to str
        By address what is wrong, empty if nothing is; without workers that are gone.
    """
    asking: Any = client.get_versions()
    versions = await asking
    here = versions["client"]["packages"]
    found = {
        address: mismatch(here, versions["workers"][address]["packages"], ("python", 2), *SAME)
        for address in addresses
        if address in versions["workers"]
    }
    # A worker that cannot read a function of ours would break down: first one it can read.
    fit = [address for address, problem in found.items() if not problem]
    telling: Any = client.run(_version_teller(), workers=fit, on_error="return")
    ours = _version_teller()()
    for address, theirs in (await telling).items():
        if isinstance(theirs, OSError):
            del found[address]  # gone meanwhile
        elif isinstance(theirs, Exception):
            found[address] = f"it cannot load phs_mpi: {type(theirs).__name__}: {theirs}"
        else:
            found[address] = mismatch(ours, theirs, "phs_mpi", ("numpy", 1))
    return found


def mismatch(
    here: Mapping[str, str | None], there: Mapping[str, str | None], *what: str | tuple[str, int]
) -> str:
    """What of `there` is not as `here`; empty if all is.

    Parameters
    ----------
    here, there : mapping of str to str
        Versions of packages; None where there is none.
    *what : str or (str, int)
        The packages to compare, and how many parts of their versions: all, if not said.
    """
    for item in what:
        name, parts = item if isinstance(item, tuple) else (item, None)
        theirs, ours = there.get(name), here.get(name)
        if theirs is None:
            return f"it has no {name}"
        if theirs.split(".")[:parts] != (ours or "").split(".")[:parts]:
            return f"it has {name} {theirs}, and here is {ours}"
    return ""


def _version_teller() -> Callable[[], dict[str, str | None]]:
    """A function that travels by value, since it has no name that could be looked up."""

    def tell() -> dict[str, str | None]:
        from importlib import import_module

        versions: dict[str, str | None] = {}
        for name in ("phs_mpi", "numpy"):
            try:
                versions[name] = import_module(name).__version__
            except ImportError:
                versions[name] = None
        return versions

    return tell


def _address_in(file: Path, timeout: float) -> str:
    """The scheduler's address in the file that ``dask scheduler --scheduler-file`` writes."""
    begun = time.monotonic()
    while True:
        try:
            text = file.read_text()
            break
        except FileNotFoundError:
            if time.monotonic() - begun > timeout:
                raise BackendError(
                    f"there is no scheduler file {file} (waited {timeout:g} s)",
                    value=str(file),
                    remedy=f"start `dask scheduler --scheduler-file {file}`",
                ) from None
            time.sleep(0.1)
        except OSError as error:
            raise BackendError(f"cannot read {file}: {error.strerror}", value=str(file)) from error
    try:
        return str(json.loads(text)["address"])
    except (ValueError, KeyError, TypeError) as error:
        raise BackendError(
            f"{file} is no scheduler file of Dask",
            value=str(file),
            remedy=f"take the one that `dask scheduler --scheduler-file {file}` writes",
        ) from error
