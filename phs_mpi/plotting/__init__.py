"""Figures of a search, from a results file alone.

A kind of figure is a function from a snapshot (:func:`phs_mpi.store.read`) to a matplotlib
figure, and a line in :data:`KINDS`. Figures are made without pyplot, so that no display is needed
and nothing is left in a global state; what they show is also to be had as plain arrays
(``..._of`` functions).
"""

from .calibration import Calibration, calibration, calibration_of
from .combination import combination
from .convergence import Runs, convergence, runs_of
from .evolution import evolution
from .importance import Importance, importance, importance_of
from .saving import FORMATS, KINDS, Options, save_figures
from .scatter import Surface, animate, interpolated, scatter
from .style import NothingToDraw
from .surrogate import Slice, slices, slices_of
from .timeline import Work, timeline, work

__all__ = [
    "FORMATS",
    "KINDS",
    "Calibration",
    "Importance",
    "NothingToDraw",
    "Options",
    "Runs",
    "Slice",
    "Surface",
    "Work",
    "animate",
    "calibration",
    "calibration_of",
    "combination",
    "convergence",
    "evolution",
    "importance",
    "importance_of",
    "interpolated",
    "runs_of",
    "save_figures",
    "scatter",
    "slices",
    "slices_of",
    "timeline",
    "work",
]
