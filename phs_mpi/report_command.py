"""The command ``report``; matplotlib is only imported when it runs."""

from __future__ import annotations

import argparse
import threading
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from .backends.signals import interrupts
from .whole_file import replacing

if TYPE_CHECKING:
    from .report import Drawn
    from .store import Snapshot

#: Seconds between two pages of a running file, unless told otherwise.
WATCH_SECONDS = 15.0
#: Share of the time that drawing may take, so that a login node is not kept busy.
MOST_BUSY = 0.25

MORE = """
Figures, tables of sets and workers, failures with their tracebacks, versions
and the text of the experiment, in one file that needs no network.

    python -m phs_mpi report experiment.h5
    python -m phs_mpi report --watch 60 --out public/ experiment.h5
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Put in what the command takes."""
    parser.add_argument("file", type=Path, help="the results file")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="the page, or a folder for it (default: beside the results file, as NAME.html)",
    )
    parser.add_argument(
        "-w",
        "--watch",
        type=_seconds,
        nargs="?",
        const=WATCH_SECONDS,
        metavar="SECONDS",
        help="write the page again every so many seconds (default %(const)g) until all is "
        "evaluated; meanwhile it reloads itself in a browser",
    )


def run(options: argparse.Namespace) -> int:
    """Write the page and print where it is."""
    from .store import read

    snapshot = read(options.file)
    page = _Page(_path(options.file, options.out))
    if options.watch is None:
        page.write(snapshot)
        print(page.path)
    else:
        _watch(page, snapshot, options.watch)
    return 0


def _watch(page: _Page, snapshot: Snapshot, seconds: float) -> None:
    """Write the page again and again until all is evaluated."""
    from .store import read

    stop = threading.Event()
    # An exception in the middle of drawing could fall into a destructor, and be lost.
    with interrupts(stop.set):
        for number in count():
            begun = time.monotonic()
            # What nobody writes again a browser must not load again.
            last = snapshot.complete or stop.is_set()
            page.write(snapshot, None if last else seconds)
            if number == 0:
                print(page.path, flush=True)
            if snapshot.complete:
                return
            if last:
                raise KeyboardInterrupt
            busy = time.monotonic() - begun
            stop.wait(max(seconds - busy, busy / MOST_BUSY - busy))
            snapshot = read(snapshot.path)


class _Page:
    """The page in its file; figures are only drawn anew when they change.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path):
        self.path = path
        self._drawn: Drawn | None = None
        self._seen: tuple[bytes, int] | None = None

    def write(self, snapshot: Snapshot, refresh: float | None = None) -> None:
        """Write it; see :func:`phs_mpi.report.page`."""
        from .report import draw, page

        with replacing(self.path, snapshot.path) as part:
            now = snapshot.status.tobytes(), len(snapshot.log)
            if self._drawn is None or now != self._seen:
                self._drawn, self._seen = draw(snapshot), now
            text = page(snapshot, self._drawn, refresh)
            part.write_text(text, encoding="utf-8", errors="backslashreplace")


def _path(file: Path, out: Path | None) -> Path:
    """Where the page goes."""
    if out is None:
        return file.with_suffix(".html")
    return out / f"{file.stem}.html" if out.is_dir() else out


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 1 <= seconds <= 1e6:
        raise argparse.ArgumentTypeError(f"{text} is no interval; give 1 to 1e6 seconds")
    return seconds
