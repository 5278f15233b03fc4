"""What the benches behind run.py share: what they report, and what the machine did meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

#: Environment of the tools that others wrote; made by peers.sh, beside that of other searches.
PEERS = Path(
    os.environ.get("PEERS", f"{Path(__file__).resolve().parents[2] / '.venv-peers'}") + "-mpi"
)

PACKAGES = ("mpi4py", "numpy", "h5py", "scipy", "scikit-learn", "distributed", "optuna")
PEER_PACKAGES = ("mpi4py", "schwimmbad", "libensemble", "propulate", "deephyper")


@dataclass
class Table:
    """One table of a report.

    Attributes
    ----------
    title : str
        What it shows, with units.
    columns : sequence of str
        Headings.
    rows : list of list
        Text or numbers, as many as there are columns.
    """

    title: str
    columns: Sequence[str]
    rows: list[list] = field(default_factory=list)

    def markdown(self) -> str:
        """The table as markdown."""
        lines = [f"**{self.title}**", "", _line(self.columns), _line(["---"] * len(self.columns))]
        return "\n".join([*lines, *(_line([shown(cell) for cell in row]) for row in self.rows)])


@dataclass
class Goal:
    """A figure that is to be reached.

    Attributes
    ----------
    what : str
        The figure.
    bound : float
        What it should be.
    found : float
        What it is.
    at_most : bool
        Whether lower is better.
    """

    what: str
    bound: float
    found: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        return self.found <= self.bound if self.at_most else self.found >= self.bound

    def markdown(self) -> str:
        """One line of a list."""
        sign = "≤" if self.at_most else "≥"
        verdict = "met" if self.met else "**not met**"
        return f"- {self.what}: {shown(self.found)}, goal {sign} {shown(self.bound)}: {verdict}"


@dataclass
class Report:
    """What a bench has found.

    Attributes
    ----------
    tables : list of Table
        Every figure in them beside a raw limit or a peer of the same run.
    goals : list of Goal
        Met or not.
    left_out : list of str
        What could not be measured here, and why.
    figures : dict of str to float
        Named figures, for programs (SI units).
    """

    tables: list[Table] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def markdown(self) -> str:
        """All of it as markdown."""
        parts = [table.markdown() for table in self.tables]
        if self.goals:
            parts.append("\n".join(goal.markdown() for goal in self.goals))
        if self.left_out:
            parts.append("\n".join(f"- left out: {line}" for line in self.left_out))
        return "\n\n".join(parts)


def shown(cell: object) -> str:
    """A cell of a table; numbers to three figures."""
    if not isinstance(cell, float):
        return f"{cell:,}" if isinstance(cell, int) else str(cell)
    if abs(cell) >= 1000:
        return f"{cell:,.0f}"
    return f"{cell:.3g}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


@contextlib.contextmanager
def watched() -> Iterator[dict[str, float]]:
    """What the machine did meanwhile, in the dict that this yields, filled at the end.

    ``idle``: share of all cores; ``others``: share that programs other than this one and the
    ended ones it has started took (also those of the lowest priority); ``load``: average of a
    minute.
    """
    found: dict[str, float] = {}
    begun, before, mine = time.monotonic(), psutil.cpu_times(), _own_cpu()
    yield found
    seconds, after = time.monotonic() - begun, psutil.cpu_times()
    cores = os.cpu_count() or 1
    idle = (after.idle - before.idle) / (seconds * cores)
    own = (_own_cpu() - mine) / (seconds * cores)
    found["seconds"] = seconds
    found["idle"] = min(max(idle, 0.0), 1.0)
    found["own"] = own
    found["others"] = max(1.0 - found["idle"] - own, 0.0)
    found["load"] = os.getloadavg()[0]


def _own_cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def surroundings() -> dict[str, object]:
    """Versions and machine, for the record."""
    import h5py

    import phs_mpi

    library = subprocess.run(
        [sys.executable, "-m", "mpi4py", "--mpi-lib-version"], capture_output=True, text=True
    )
    return {
        "phs_mpi": phs_mpi.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "mpi_library": library.stdout.split(",")[0].strip() or "unknown",
        "hdf5": h5py.version.hdf5_version,
        "h5py_with_mpi": bool(h5py.get_config().mpi),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def peer_python() -> str | None:
    """Python of the peers' environment; None if there is none."""
    found = PEERS / "bin" / "python"
    return str(found) if found.exists() else None


def peer_versions() -> dict[str, str | None]:
    """Versions of what peers.sh installs, as far as it is there."""
    python = peer_python()
    if python is None:
        return dict.fromkeys(PEER_PACKAGES)
    code = (
        "import importlib.metadata as m, json\n"
        "found = {d.metadata['Name'].lower(): d.version for d in m.distributions()}\n"
        f"print(json.dumps({{n: found.get(n) for n in {PEER_PACKAGES!r}}}))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    return json.loads(done.stdout) if not done.returncode else dict.fromkeys(PEER_PACKAGES)


def unshared(process: psutil.Process) -> int:
    """Bytes that only this process has; 0 once it is gone."""
    try:
        return process.memory_full_info().uss
    except psutil.Error:
        return 0
