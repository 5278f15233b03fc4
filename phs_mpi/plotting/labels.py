"""Text beside points, where there is room for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

_FONT = 7.0
#: Half the width of a marker, in points.
MARKER = 2.2
#: Radius of the circle around the best, in points.
CIRCLE = 7.0
#: Directions in which a label may stand, in order of preference: right or left, above or below.
_CORNERS = ((1, 1), (1, -1), (-1, 1), (-1, -1))


def place_labels(
    figure: Figure, axes: Axes, points: np.ndarray, texts: Sequence[str], others: np.ndarray
) -> None:
    """Write the texts beside their points, the first ones first; none over another or a marker.

    The first text belongs to the point that is circled: it stands outside the circle, always.

    Parameters
    ----------
    figure : Figure
    axes : Axes
        With the limits it is going to have.
    points : ndarray of shape (n, 2)
        In units of the data.
    texts : sequence of str
        Those for which there is no room are left out.
    others : ndarray of shape (m, 2)
        Points with a marker, that nothing may be written on.
    """
    figure.draw_without_rendering()  # only now it is known where the axes are
    pixel = figure.dpi / 72
    places = axes.transData.transform(points) / pixel  # in points of 1/72 inch, as the font is
    frame = np.array(axes.bbox.extents) / pixel
    marks = axes.transData.transform(others) / pixel
    markers = np.hstack([marks - MARKER, marks + MARKER])
    taken: list[np.ndarray] = []
    for (x, y), point, text in zip(places, points, texts, strict=True):
        width, height = 0.62 * _FONT * len(text), 0.85 * _FONT
        first = not taken
        aside, apart = (6.5, 6.5) if first else (3.5, 2.5)
        corners = [_box(x, y, width, height, aside * r, apart * u) for r, u in _CORNERS]
        inside = [_inside(box, frame) for box in corners]
        free = [not _overlap(box, np.array(taken + [*markers])) for box in corners]
        for (right, up), box, fits, alone in zip(_CORNERS, corners, inside, free, strict=True):
            if fits and (alone or (first and not any(np.logical_and(inside, free)))):
                taken.append(box)
                axes.annotate(
                    text,
                    point,
                    xytext=(aside * right, apart * up),
                    textcoords="offset points",
                    ha="left" if right > 0 else "right",
                    va="bottom" if up > 0 else "top",
                    fontsize=_FONT,
                    color="#222222",
                    zorder=5,
                    path_effects=[withStroke(linewidth=1.6, foreground="white", alpha=0.8)],
                )
                break
        if first:  # nothing else inside the circle
            taken.append(np.array([x - CIRCLE, y - CIRCLE, x + CIRCLE, y + CIRCLE]))


def _inside(box: np.ndarray, frame: np.ndarray) -> bool:
    return bool((box[:2] >= frame[:2]).all() and (box[2:] <= frame[2:]).all())


def _overlap(box: np.ndarray, others: np.ndarray) -> bool:
    if not len(others):
        return False
    return bool(((box[:2] < others[:, 2:]) & (others[:, :2] < box[2:])).all(axis=1).any())


def _box(x: float, y: float, width: float, height: float, aside: float, apart: float) -> np.ndarray:
    left = x + aside if aside > 0 else x + aside - width
    bottom = y + apart if apart > 0 else y + apart - height
    return np.array([left, bottom, left + width, bottom + height])
