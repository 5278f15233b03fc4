"""Figures into files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from ..errors import PhsError
from ..store import Snapshot
from .combination import combination
from .convergence import convergence
from .evolution import evolution
from .importance import importance
from .scatter import animate, scatter
from .style import NothingToDraw
from .surrogate import calibration, slices
from .timeline import timeline

FORMATS = ("png", "pdf", "svg")
_DPI = 150


@dataclass(frozen=True)
class Options:
    """How figures are drawn and saved.

    Attributes
    ----------
    parameters : sequence of str or None
        Those to show: two for a scatter. Default: all, or the first two.
    contour : bool
        Of a scatter: whether with an interpolated contour.
    animate : bool
        Of a scatter: a GIF that grows with the search, instead of a picture.
    optimum : float or None
        Of a convergence: the best possible result.
    formats : sequence of str
        Of ``FORMATS``.
    dpi : float
        Of a PNG or GIF.
    """

    parameters: Sequence[str] | None = None
    contour: bool = False
    animate: bool = False
    optimum: float | None = None
    formats: Sequence[str] = ("png",)
    dpi: float = _DPI

    @property
    def pair(self) -> tuple[str | None, str | None]:
        """The two parameters of a scatter."""
        names = list(self.parameters or ())
        if names and len(names) != 2:
            raise PhsError(
                f"scatter shows two parameters, not {len(names)}",
                value=names,
                remedy="write --parameters x,y",
            )
        return (names[0], names[1]) if names else (None, None)


#: Kinds of figures of one file.
KINDS: dict[str, Callable[[Snapshot, Options], Figure]] = {
    "evolution": lambda snapshot, _: evolution(snapshot),
    "scatter": lambda snapshot, options: scatter(snapshot, *options.pair, contour=options.contour),
    "combination": lambda snapshot, options: combination(snapshot, options.parameters),
    "timeline": lambda snapshot, _: timeline(snapshot),
    "slices": lambda snapshot, options: slices(snapshot, options.parameters),
    "importance": lambda snapshot, options: importance(snapshot, options.parameters),
    "calibration": lambda snapshot, _: calibration(snapshot),
}
#: The kind that several files share.
SHARED = "convergence"


def save_figures(
    snapshots: Snapshot | Sequence[Snapshot],
    kinds: Iterable[str] = (),
    folder: str | os.PathLike | None = None,
    options: Options | None = None,
) -> list[Path]:
    """Draw figures into files.

    Parameters
    ----------
    snapshots : Snapshot or sequence of Snapshot
        One results file, or several.
    kinds : iterable of str
        Keys of :data:`KINDS`, or "convergence"; default: all that the file has enough for, and
        for several files "convergence".
    folder : path, optional
        Default: the first results file's.
    options : Options, optional

    Returns
    -------
    list of Path
        ``NAME.KIND.png`` for each.

    Raises
    ------
    PhsError
        If there is no such kind, format or parameter, nothing to draw, or the folder cannot be
        written.
    """
    files = [snapshots] if isinstance(snapshots, Snapshot) else list(snapshots)
    options = options or Options()
    kinds = list(dict.fromkeys(kinds))
    _check(kinds, options)
    target = Path(folder) if folder is not None else files[0].path.parent
    if kinds:
        asked = kinds
    elif len(files) > 1:
        asked = [SHARED]
    else:
        asked = ["scatter"] if options.animate or options.contour else list(KINDS)
    paths: list[Path] = []
    lacking: list[PhsError] = []
    with _writing(target):
        target.mkdir(parents=True, exist_ok=True)
        for kind in asked:
            try:
                if kind == SHARED:
                    figure = convergence(files, options.optimum)
                    paths += _save(figure, target / f"{files[0].path.stem}.{kind}", options)
                    continue
                for snapshot in files:
                    stem = target / f"{snapshot.path.stem}.{kind}"
                    if kind == "scatter" and options.animate:
                        paths.append(_animated(snapshot, stem, options))
                    else:
                        paths += _save(KINDS[kind](snapshot, options), stem, options)
            except NothingToDraw as error:
                if kinds:
                    raise
                lacking.append(error)
    if not paths:
        raise lacking[0]
    return paths


def _check(kinds: Sequence[str], options: Options) -> None:
    for kind in kinds:
        if kind not in KINDS and kind != SHARED:
            raise PhsError(
                f"there is no figure {kind!r}",
                value=kind,
                remedy=f"choose of {', '.join([*KINDS, SHARED])}",
            )
    for name in options.formats:
        if name not in FORMATS:
            raise PhsError(
                f"there is no format {name!r}", value=name, remedy=f"choose of {', '.join(FORMATS)}"
            )
    if not options.formats:
        raise PhsError("no format is given", remedy=f"choose of {', '.join(FORMATS)}")


def _save(figure: Figure, stem: Path, options: Options) -> list[Path]:
    paths = []
    for suffix in dict.fromkeys(options.formats):
        path = Path(f"{stem}.{suffix}")
        figure.savefig(path, dpi=options.dpi)
        paths.append(path)
    return paths


def _animated(snapshot: Snapshot, stem: Path, options: Options) -> Path:
    path = Path(f"{stem}.gif")
    return animate(snapshot, path, *options.pair, contour=options.contour, dpi=options.dpi)


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PhsError(
            f"cannot write figures in {target}: {error.strerror or error}",
            value=str(target),
            remedy="name another folder with --out",
        ) from error
