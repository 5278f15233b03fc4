"""The results file of a run: created, written while evaluations finish, resumed, read.

Whoever starts a run takes the :class:`Lock` and calls :func:`prepare`, which creates the file
or finds what is missing in it. Then every rank, or the client, opens it with
:func:`open_store` and writes its own rows. From then on nothing but bytes of existing rows
changes: a reader at any moment, and a run after a kill -9, finds a sound file.

Names are loaded when first used: most ranks only write rows.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .hdf5 import has_mpi
    from .lock import Lock
    from .resume import Resume, prepare
    from .snapshot import Snapshot, read
    from .writer import Store, open_store

__all__ = ["Lock", "Resume", "Snapshot", "Store", "has_mpi", "open_store", "prepare", "read"]

_HOME = {
    "Lock": "lock",
    "Resume": "resume",
    "Snapshot": "snapshot",
    "Store": "writer",
    "has_mpi": "hdf5",
    "open_store": "writer",
    "prepare": "resume",
    "read": "snapshot",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'phs_mpi.store' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
