"""The command ``plot``; matplotlib is only imported when it runs."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

MORE = """
Without a kind it draws all that the file has enough for. Also while the run
goes on.

    python -m phs_mpi plot experiment.h5
    python -m phs_mpi plot experiment.h5 scatter --contour --parameters rate,width --format pdf
    python -m phs_mpi plot seed1.h5 seed2.h5 seed3.h5 convergence --optimum 0
"""

FIGURES = """\
figures:
  evolution    result over parameter set, with the best so far
  scatter      two parameters, the result in colour; --contour, --animate
  combination  all parameters at once, each set a line
  timeline     what each worker did when
  slices       surrogate and expected improvement along each parameter through the best set
  importance   how much each parameter matters
  calibration  what the proposals predicted, and what was found
  convergence  best so far of several files, with median and quartiles (the default for several)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Put in what the command takes."""
    parser.epilog = FIGURES
    parser.add_argument("file", type=Path, help="the results file")
    parser.add_argument(
        "what",
        nargs="*",
        metavar="kind",
        help="which figures (default: all that the file has enough for); more results files may "
        "stand here too",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where to (default: beside the results file)"
    )
    parser.add_argument(
        "--format",
        type=_words,
        default=["png"],
        metavar="FORMAT",
        help="png, pdf, svg, or several as in png,pdf (default: png)",
    )
    parser.add_argument(
        "-p",
        "--parameters",
        type=_words,
        metavar="NAME,NAME",
        help="which parameters: two for scatter, any number for combination, slices, importance",
    )
    parser.add_argument(
        "--contour", action="store_true", help="of scatter: fill the plane between the sets"
    )
    parser.add_argument(
        "--animate", action="store_true", help="of scatter: a GIF that grows with the search"
    )
    parser.add_argument(
        "--optimum",
        type=float,
        metavar="RESULT",
        help="of convergence: the best possible result; draws the distance from it",
    )
    parser.add_argument(
        "--dpi",
        type=_dpi,
        default=150,
        metavar="N",
        help="dots per inch of a PNG or GIF (default: %(default)g)",
    )


def run(options: argparse.Namespace) -> int:
    """Draw the figures and print where they are."""
    from .plotting import Options, save_figures
    from .store import read

    more = [word for word in options.what if _is_file(word)]
    kinds = [word for word in options.what if word not in more]
    how = Options(
        parameters=options.parameters,
        contour=options.contour,
        animate=options.animate,
        optimum=options.optimum,
        formats=options.format,
        dpi=options.dpi,
    )
    files = [read(file) for file in dict.fromkeys([options.file, *map(Path, more)])]
    for path in save_figures(files, kinds, options.out, how):
        print(path)
    return 0


def _is_file(word: str) -> bool:
    """Whether it is meant for a file: no kind of figure has a dot or a slash in its name."""
    return bool(Path(word).suffix) or os.sep in word or Path(word).is_file()


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _dpi(text: str) -> float:
    dpi = float(text)
    if not 10 <= dpi <= 2400:
        raise argparse.ArgumentTypeError(f"{text} is no resolution; give 10 to 2400")
    return dpi
