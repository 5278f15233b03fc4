"""What one evaluation may cost before it is stopped."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from .conversion import refuse, shown

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


class Limits(NamedTuple):
    """Limits of an evaluation; any of them means that it runs in a process of its own.

    Attributes
    ----------
    isolate : bool
        Whether evaluations run in a process of their own.
    timeout : float or None
        Seconds that one may take.
    memory : int or None
        Bytes of resident memory that its process, and all that this starts, may use.
    """

    isolate: bool = False
    timeout: float | None = None
    memory: int | None = None

    @classmethod
    def of(cls, isolate: bool, timeout: Any, memory_limit: Any) -> Limits:
        """Check what the user has given.

        Raises
        ------
        DefinitionError
            If a limit makes no sense.
        """
        if timeout is not None:
            number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
            if not number or not 0 < timeout < 1e9:
                refuse(f"timeout={shown(timeout)} is no time", timeout, "give seconds above 0")
            timeout = float(timeout)
        memory = None if memory_limit is None else _bytes(memory_limit)
        return cls(isolate or timeout is not None or memory is not None, timeout, memory)

    def merged(self, other: Limits) -> Limits:
        """These limits, where `other` sets none."""
        return Limits(
            self.isolate or other.isolate,
            self.timeout if other.timeout is None else other.timeout,
            self.memory if other.memory is None else other.memory,
        )


UNLIMITED = Limits()


def _bytes(given: Any) -> int:
    """
    >>> _bytes("1.5 GiB"), _bytes("200M"), _bytes(4096)
    (1610612736, 209715200, 4096)
    """
    text = str(given) if not isinstance(given, bool) else "bool"
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    size = int(float(found[1]) * 2 ** _UNITS[found[2].upper()]) if found else 0
    if size < 1:
        refuse(
            f"memory_limit={shown(given)} is no size", given, "give bytes, or a text as in '4 GiB'"
        )
    return size


def in_bytes(size: float) -> str:
    """
    >>> in_bytes(123_456_789)
    '118 MiB'
    """
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.3g} {unit}" if unit != "bytes" else f"{size:.0f} bytes"
        size /= 1024
    return f"{size:.3g} TiB"
