"""The command ``report``; matplotlib is only imported when it runs."""

from __future__ import annotations

import argparse
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from .whole_file import replacing

if TYPE_CHECKING:
    from .report import Drawn
    from .store import Snapshot

#: Seconds between two pages of a running file, unless told otherwise.
WATCH_SECONDS = 15.0
#: Share of the time that drawing may take, so that a login node is not kept busy.
MOST_BUSY = 0.25


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
    path = _path(options.file, options.out)
    if options.watch is None:
        _write(path, snapshot, _draw(snapshot))
        print(path)
        return 0
    _watch(path, snapshot, options.watch)
    return 0


def _watch(path: Path, snapshot: Snapshot, seconds: float) -> None:
    """Write the page again and again until all is evaluated, or the user has enough."""
    from .store import read

    drawn, seen = _draw(snapshot), _state(snapshot)
    try:
        for number in count():
            begun = time.monotonic()
            if seen != _state(snapshot):
                drawn, seen = _draw(snapshot), _state(snapshot)
            if snapshot.complete:
                break
            _write(path, snapshot, drawn, seconds)
            if number == 0:
                print(path, flush=True)
            busy = time.monotonic() - begun
            time.sleep(max(seconds - busy, busy / MOST_BUSY - busy))
            snapshot = read(snapshot.path)
    finally:
        # Also after Ctrl-C: nobody writes it again, so a browser must not load it again.
        _write(path, snapshot, drawn)
        if number == 0:
            print(path, flush=True)


def _state(snapshot: Snapshot) -> tuple[bytes, int]:
    """What changes when anything is to be drawn anew."""
    return snapshot.status.tobytes(), len(snapshot.log)


def _draw(snapshot: Snapshot) -> Drawn:
    from .report import draw

    return draw(snapshot)


def _write(path: Path, snapshot: Snapshot, drawn: Drawn, refresh: float | None = None) -> None:
    from .report import page

    text = page(snapshot, drawn, refresh)
    with replacing(path, snapshot.path) as part:
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
