"""What of a results file can be trusted, in words."""

from __future__ import annotations

import numpy as np

from .store.checks import Verification, ranges

_SHOWN = 8  # contradicting entries that are named
_WIDTH = 300  # characters of a list of indices


def verdict(found: Verification) -> str:
    """The result of a check in a few lines; the last one is the verdict."""
    lines = [
        f"{found.path}: {found.rows} rows: {len(found.whole)} whole, {len(found.empty)} empty, "
        f"{len(found.torn)} torn"
        + (f", {len(found.attempts)} to be tried again" if len(found.attempts) else "")
    ]
    if len(found.torn):
        lines += [f"  whole: {_indices(found.whole)}", f"  torn: {_indices(found.torn)}"]
    wrong = found.contradictions
    log = f"log: {found.log_entries - len(wrong)} entries sound, {len(wrong)} contradicting"
    if found.unlogged:
        log += f"; {found.unlogged} whole rows are not in it yet"
    lines.append(log)
    for position in sorted(wrong)[:_SHOWN]:
        lines.append(f"  entry {position} {wrong[position]}")
    if len(wrong) > _SHOWN:
        lines.append(f"  and {len(wrong) - _SHOWN} more")
    lines += [f"damaged: {problem}" for problem in found.problems]
    if found.unchecked:
        lines.append(f"without a checksum, from an earlier version: {', '.join(found.unchecked)}")
    lines.append(f"verdict: {_verdict(found)}")
    return "\n".join(lines)


def _verdict(found: Verification) -> str:
    if found.sound:
        return "sound"
    if not found.problems:
        return (
            "damaged; every whole row can be trusted, and the command that made the file keeps "
            "them and evaluates the others again"
        )
    return "damaged; every whole row can be trusted"


def _indices(indices: np.ndarray) -> str:
    text = ranges(indices.tolist()) or "none"
    return text if len(text) <= _WIDTH else text[:_WIDTH].rpartition(",")[0] + ", …"
