"""Two parameters and the result in colour, with or without a contour, still or growing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from ..errors import PhsError
from ..store import Snapshot
from .data import ParameterAxis, Sets, chosen, need_different, parameter_axes, sets_with_results
from .labels import CIRCLE, place_labels
from .style import (
    LOOKS,
    VERMILION,
    Colours,
    legend_above,
    listing,
    new_figure,
    quality_order,
    target,
)

#: As many sets all get their number, as far as there is room; of more, only the best ones.
NUMBERED, BEST_NUMBERED = 100, 12
#: Points of the contour's grid along each parameter, its levels, and how many points its edges
#: are rounded over.
GRID, LEVELS = 90, 12
ROUNDED = 2.0
#: Neighbours over which the contour of many sets is averaged: what two parameters leave open
#: scatters, and a surface through every point would show that scatter.
NEIGHBOURS = 12
FRAMES = 60
#: Milliseconds that a frame, and the last one, is shown.
FRAME, LAST_FRAME = 130, 2500


def scatter(
    snapshot: Snapshot, x: str | None = None, y: str | None = None, *, contour: bool = False
) -> Figure:
    """Two parameters, coloured by result, the best circled (figures 2, 5, 6 of the paper).

    Parameters
    ----------
    snapshot : Snapshot
    x, y : str, optional
        Names of parameters; default: the first two that vary, for a contour the first two
        that are numbers.
    contour : bool
        Whether to fill the plane with results interpolated between the sets.

    Raises
    ------
    PhsError
        If there is no result yet, no such parameter, or a contour has no plane to fill.
    """
    view = _View.of(snapshot, x, y, contour)
    figure, axes = new_figure()
    view.draw(figure, axes)
    return figure


def animate(
    snapshot: Snapshot,
    path: str | os.PathLike,
    x: str | None = None,
    y: str | None = None,
    *,
    contour: bool = False,
    frames: int = FRAMES,
    dpi: float = 100,
) -> Path:
    """Write a GIF of :func:`scatter` that grows with the search, set by set.

    Parameters
    ----------
    snapshot : Snapshot
    path : path
        The GIF.
    x, y, contour
        See :func:`scatter`.
    frames : int
        At most; a longer search grows by several sets at a time.
    dpi : float
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    view = _View.of(snapshot, x, y, contour)
    figure, axes = new_figure()
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    view.draw(figure, axes)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # nothing may move between two pictures
    limits = axes.get_xlim(), axes.get_ylim()
    known = np.flatnonzero(view.data.seen)
    counts = np.unique(np.linspace(1, len(known), min(frames, len(known))).astype(int))
    pictures = []
    for count in counts.tolist():
        axes.clear()
        axes.grid(alpha=0.25, linewidth=0.6)
        view.draw(figure, axes, upto=int(known[count - 1]) + 1, limits=limits)
        canvas.draw()
        pictures.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()))
    # The colours of the last picture, which has them all, for all: what stays the same from one
    # to the next then takes no room.
    palette = pictures[-1].quantize(128, dither=Image.Dither.NONE)
    pictures = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    pictures[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=[FRAME] * (len(pictures) - 1) + [LAST_FRAME],
        loop=0,
    )
    return Path(path)


def interpolated(snapshot: Snapshot, x: str | None = None, y: str | None = None) -> Surface:
    """The results between the sets, as the contour of :func:`scatter` shows them."""
    view = _View.of(snapshot, x, y, contour=True)
    surface = view.surface(len(view.data.found))
    assert surface is not None
    return surface


class Surface(NamedTuple):
    """Results on a grid.

    Attributes
    ----------
    x, y : ndarray of shape (n,)
        Values of the two parameters.
    heights : ndarray of shape (n, n)
        Results; a row for each `y`.
    hull : ndarray of shape (m, 2)
        The outermost sets: only between them do the heights mean anything.
    """

    x: np.ndarray
    y: np.ndarray
    heights: np.ndarray
    hull: np.ndarray


@dataclass
class _View:
    """Which sets are drawn where, in which colours."""

    snapshot: Snapshot
    data: Sets
    x: ParameterAxis
    y: ParameterAxis
    colours: Colours
    contour: bool

    @classmethod
    def of(cls, snapshot: Snapshot, x: str | None, y: str | None, contour: bool) -> _View:
        figure = "a contour" if contour else "scatter"
        data = sets_with_results(snapshot, figure, least=3 if contour else 1)
        names = chosen(snapshot, [name for name in (x, y) if name is not None])
        if contour:
            _refuse_categories(snapshot, [name for name in (x, y) if name is not None])
            need_different(data.found, snapshot, figure)
        seen = np.flatnonzero(data.seen)
        if x is None or y is None:
            candidates = [n for n, kind in snapshot.types.items() if kind.real or not contour]
            varying = [a.name for a in parameter_axes(snapshot, candidates, seen) if a.varies]
            others = [n for n in dict.fromkeys([*varying, *candidates]) if n not in (x, y)]
            names = [name or others.pop(0) for name in (x, y) if name or others]
        if len(names) < 2:
            sort = " numeric" if contour else ""
            raise PhsError(
                f"scatter shows two{sort} parameters, and {snapshot.path} has {listing(names)} "
                f"alone"
                if names
                else f"a contour takes two numeric parameters, and {snapshot.path} has none"
            )
        axes = parameter_axes(snapshot, names, np.arange(len(data.found)))
        colours = Colours.of(data.found, snapshot.maximize)
        view = cls(snapshot, data, axes[0], axes[1], colours, contour)
        if contour and view.surface(len(data.found)) is None:
            raise PhsError(
                f"{snapshot.path} has no contour of {names[0]!r} and {names[1]!r}: its "
                f"{len(seen)} results lie on one line",
                remedy="choose two parameters that vary independently",
            )
        return view

    @cached_property
    def places(self) -> np.ndarray:
        """Where each set is drawn, shape (sets, 2)."""
        indices = np.arange(len(self.data.found))
        return np.stack([self.x.jittered(indices), self.y.jittered(indices + 0.5)], axis=1)

    def draw(
        self,
        figure: Figure,
        axes: Axes,
        upto: int | None = None,
        limits: tuple[Any, Any] | None = None,
    ) -> None:
        """Draw the first `upto` sets; without `limits` for the first time, with a colour bar."""
        upto = len(self.data.found) if upto is None else upto
        here = self.data.seen & np.isfinite(self.places).all(axis=1)
        here[upto:] = False
        self.x.dress(axes.xaxis)
        self.y.dress(axes.yaxis)
        self._limit(axes)
        surface = self.surface(upto) if self.contour else None
        if surface is not None:
            self._fill(axes, surface)
        size = float(np.clip(60 - 0.06 * len(here), 12, 34))
        edge = 0.5 if len(here) <= 1000 else 0.0
        for look in LOOKS:
            these = np.flatnonzero(here & np.isin(self.data.source, look.sources))
            these = these[quality_order(self.data.found[these], self.snapshot.maximize)]
            if not len(these):
                continue
            axes.scatter(
                self.places[these, 0],
                self.places[these, 1],
                c=self.data.found[these],
                norm=self.colours.norm,
                cmap=self.colours.cmap,
                marker=look.marker,
                s=size if look.filled else 1.2 * size,
                linewidths=edge if look.filled else 1.4,
                edgecolors="white" if look.filled else None,
                label=look.label,
                zorder=3,
            )
        best = quality_order(np.where(here, self.data.found, np.nan), self.snapshot.maximize)
        if len(best):
            axes.plot(
                *self.places[best[-1]],
                "o",
                markersize=2 * CIRCLE,
                markerfacecolor="none",
                markeredgecolor=VERMILION,
                markeredgewidth=1.8,
                label="best",
                zorder=4,
            )
        axes.set_title(self._title(best))
        legend_above(axes)
        if limits is None:
            # Always the same colours, whatever is drawn.
            bar = ScalarMappable(self.colours.norm, self.colours.cmap)
            figure.colorbar(bar, ax=axes, label="result", extend=self.colours.extend)
        else:
            axes.set_xlim(limits[0])
            axes.set_ylim(limits[1])
        numbered = best[::-1]
        if len(numbered) > NUMBERED:
            numbered = numbered[:BEST_NUMBERED]
        texts = [str(i) for i in numbered.tolist()]
        place_labels(figure, axes, self.places[numbered], texts, self.places[here])

    def _limit(self, axes: Axes) -> None:
        axes.set_xlim(self.x.limits())
        axes.set_ylim(self.y.limits())

    def _title(self, best: np.ndarray) -> str:
        name = target(self.snapshot)
        if not len(best):
            return name
        return f"{name}: best {self.data.found[best[-1]]:.6g} (set {best[-1]})"

    def surface(self, upto: int) -> Surface | None:
        """Results interpolated on a grid; None if the sets lie on a line."""
        from scipy.interpolate import LinearNDInterpolator
        from scipy.ndimage import distance_transform_edt, gaussian_filter
        from scipy.spatial import ConvexHull, QhullError, cKDTree

        even = np.stack([self.x.even, self.y.even], axis=1)
        here = self.data.seen & np.isfinite(even).all(axis=1)
        here[upto:] = False
        points, found = even[here], self.data.found[here]
        if len(points) < 3:
            return None
        low, width = points.min(axis=0), np.ptp(points, axis=0)
        if not width.all():
            return None
        points = (points - low) / width
        if self.colours.log:
            found = np.log(found)
        # Where sets differ in other parameters only, and of neighbours if there are many: the mean.
        points, same = np.unique(points, axis=0, return_inverse=True)
        found = np.bincount(same.ravel(), found) / np.bincount(same.ravel())
        if len(points) > NUMBERED:
            near = cKDTree(points).query(points, NEIGHBOURS)[1]
            found = found[near].mean(axis=1)
        line = np.linspace(0.0, 1.0, GRID)
        grid = np.meshgrid(line, line)
        try:
            heights = LinearNDInterpolator(points, found)(*grid)
            hull = points[ConvexHull(points).vertices]
        except QhullError:
            return None
        # The picture is cut along the hull; up to there each cell of the grid needs a height, and
        # what is rounded must go on as it is at the edge: the nearest set may lie far inside.
        outside = np.isnan(heights)
        if outside.all():  # but for rounding errors, the sets lie on a line
            return None
        edge = distance_transform_edt(outside, return_distances=False, return_indices=True)
        heights = heights[tuple(edge)]
        # Flat triangles with their edges rounded: a spline would swing, and show valleys between
        # the sets that nobody has seen.
        heights = gaussian_filter(heights, ROUNDED)
        if self.colours.log:
            heights = np.exp(heights)

        def back(even: np.ndarray) -> np.ndarray:
            scaled = low + width * even
            logs = np.array([self.x.log, self.y.log])
            return np.where(logs, 10.0 ** np.where(logs, scaled, 0.0), scaled)

        x, y = back(np.stack([line, line], axis=1)).T
        return Surface(x, y, heights, back(hull))

    def _fill(self, axes: Axes, surface: Surface) -> None:
        # In units of the colours, in which the levels are even and every number is small.
        shades = np.clip(self.colours.norm(surface.heights), -0.5, 1.5)
        filled: QuadContourSet = axes.contourf(
            surface.x,
            surface.y,
            np.asarray(shades),
            levels=np.linspace(0.0, 1.0, LEVELS + 1),
            cmap=self.colours.cmap,
            extend="both",
            alpha=0.75,
            zorder=0,
        )
        # Cut along straight lines between the outermost sets.
        frame = Polygon(list(surface.hull), transform=axes.transData)
        filled.set_clip_path(frame)
        axes.grid(False)


def _refuse_categories(snapshot: Snapshot, names: list[str]) -> None:
    for name in names:
        if not snapshot.types[name].real:
            numeric = [n for n, kind in snapshot.types.items() if kind.real]
            raise PhsError(
                "a contour needs numbers, and these are categories",
                parameter=name,
                remedy=f"choose of {listing(numeric)}, or leave the contour out",
            )
