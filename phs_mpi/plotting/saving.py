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
from .calibration import calibration
from .combination import combination
from .convergence import convergence
from .data import chosen
from .evolution import evolution
from .importance import importance
from .scatter import animate, scatter
from .surrogate import slices
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
        Default: each results file's own.
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
    if kinds:
        asked = kinds
    elif len(files) > 1:
        asked = [SHARED]
    else:
        asked = ["scatter"] if options.animate or options.contour else list(KINDS)
    _check(files, asked, folder, options)
    paths: list[Path] = []
    lacking: list[PhsError] = []
    for kind in asked:
        for snapshot in files if kind != SHARED else files[:1]:
            target = Path(folder) if folder is not None else snapshot.path.parent
            stem = target / f"{snapshot.path.stem}.{kind}"
            try:
                with _writing(target):
                    if kind == SHARED:
                        paths += _save(convergence(files, options.optimum), stem, options)
                    elif kind == "scatter" and options.animate:
                        paths.append(_animated(snapshot, stem, options))
                    else:
                        paths += _save(KINDS[kind](snapshot, options), stem, options)
            except _Unwritable:
                raise
            except PhsError as error:
                if kinds:
                    raise
                lacking.append(error)
    if not paths:
        raise lacking[0]
    return paths


class _Unwritable(PhsError):
    """A figure that is drawn cannot be written."""


def _check(
    files: Sequence[Snapshot],
    kinds: Sequence[str],
    folder: str | os.PathLike | None,
    options: Options,
) -> None:
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
    for option, given, kind in (
        ("--contour", options.contour, "scatter"),
        ("--animate", options.animate, "scatter"),
        ("--optimum", options.optimum is not None, SHARED),
    ):
        if given and kind not in kinds:
            raise PhsError(
                f"{option} is for the figure {kind}, which is not drawn", remedy=f"add {kind}"
            )
    for snapshot in files:
        chosen(snapshot, options.parameters)
    stems = [snapshot.path.stem for snapshot in files]
    twice = [stem for stem in stems if stems.count(stem) > 1]
    if twice and folder is not None and any(kind != SHARED for kind in kinds):
        raise PhsError(
            f"two results files are called {twice[0]!r}, and so would be their figures in {folder}",
            value=twice[0],
            remedy="leave --out away, or draw them apart",
        )


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
        target.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise _Unwritable(
            f"cannot write figures in {target}: {error.strerror or error}",
            value=str(target),
            remedy="name another folder with --out",
        ) from error
