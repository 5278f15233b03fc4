"""Parts of the program, which profiles.py puts functions together into."""

from __future__ import annotations

import re

#: Part of the program: files, or functions of a file; the first that fits counts.
PARTS = {
    "looking for messages": r"waiting\.py|master\.py:(run|_has_come|_exchange_step)|"
    r"exchange\.py:(progress|_step|unsent)|worker_side\.py:_receive|deathwatch\.py|ulfm\.py",
    "broadcasts and the log": r"exchange\.py|batching\.py|/log\.py|enum\.py|master\.py:log_entry|"
    r"messages\.py:(.*header|encode|decode|payload.*|.*rows?)$",
    "messages between worker and rank 0": r"messages\.py|master\.py|worker_side\.py",
    "which set is next": r"schedule\.py|attempts\.py|events\.py|hosts\.py|retries\.py",
    "progress, signals, time left": r"progress\.py|backend\.py|jobtime\.py|deadline\.py|"
    r"terminal\.py",
    "what the target prints": r"capture\.py|contextlib\.py",
    "the row": r"/store/|h5py",
    "the set's values, and calling the target": r"evaluation\.py|verdict\.py|/worker\.py|table\.py|"
    r"parameters\.py|pathlib\.py|/strategies/|repeats\.py|experiment\.py|noop\.py",
}

ROW_PARTS = {
    "checksum": r"schema\.py:checksum",
    "filling the row": r"writer\.py|schema\.py|table\.py|enum\.py|parameters\.py|numpy",
    "h5py, HDF5 and the file": r"hdf5\.py|h5py",
}


def part_of(file: str, function: str, parts: dict[str, str]) -> str:
    """Name of the part that a function belongs to."""
    for name, pattern in parts.items():
        if re.search(pattern, f"{file}:{function}"):
            return name
    return "other"


def by_part(told: list[dict], parts: dict[str, str]) -> dict[str, float]:
    """Seconds of each part, of these ranks together."""
    found = dict.fromkeys([*parts, "other"], 0.0)
    for file, function, _, own, _ in (f for rank in told for f in rank["functions"]):
        found[part_of(file, function, parts)] += own
    return found
