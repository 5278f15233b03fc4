"""The command ``compare``; matplotlib and scipy are only imported when it runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from .terminal import printable

MORE = """
For each file, and for each way to search that several files have in common: the
best result, how many evaluations and how much time at work it took to come near
the best of all, and how busy the workers were; then whether the differences are
more than chance.

    python -m phs_mpi compare gp1.h5 gp2.h5 gp3.h5 forest1.h5 forest2.h5 forest3.h5
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Put in what the command takes."""
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="file", help="two results files, or more"
    )
    parser.add_argument(
        "--within",
        type=_distance,
        metavar="DISTANCE",
        help="distance from the best result that counts as having reached it (default: 5 %% of the "
        "way from there to the median of the drawn results)",
    )
    parser.add_argument(
        "--optimum",
        type=float,
        metavar="RESULT",
        help="the best possible result (default: the best of all files)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="where the picture goes (default: beside the first file)",
    )
    parser.add_argument(
        "--format", default="png", metavar="FORMAT", help="png, pdf or svg (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Print the table, draw the picture, and print where it is."""
    from .comparing import compare, text
    from .store import read

    files = [read(file) for file in dict.fromkeys(options.files)]
    print(printable(text(compare(files, options.within, options.optimum))), flush=True)
    from .plotting import Options, save_figures

    how = Options(optimum=options.optimum, formats=[options.format])
    for path in save_figures(files, ["convergence"], options.out, how):
        print(path)
    return 0


def _distance(text: str) -> float:
    distance = float(text)
    if not 0 <= distance < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no distance; give a number from 0")
    return distance
