"""The table of parameter sets: one row each, drawn once and sent to every rank."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TextIO

import numpy as np

from phs_mpi.drawing import GroupDrawer
from phs_mpi.log import Source
from phs_mpi.parameters import TEXT, ParameterType
from phs_mpi.repeats import ONCE, Repeats
from phs_mpi.strategies import Bayesian, Choice, Explicit, Grid, Random, Strategy

# The most random strategy of a set names its source.
_SOURCES: tuple[tuple[type[Strategy], Source], ...] = (
    (Bayesian, Source.BAYESIAN),
    (Random, Source.RANDOM),
    (Choice, Source.CHOICE),
    (Grid, Source.GRID),
    (Explicit, Source.EXPLICIT),
)


@dataclass
class Group:
    """The sets of one ``add``.

    Attributes
    ----------
    start : int
        Index of its first set.
    count : int
        Number of its sets.
    strategies : dict of str to Strategy
        Of each parameter, in declared order, bound to its type.
    """

    start: int
    count: int
    strategies: dict[str, Strategy]

    @cached_property
    def bayesian(self) -> tuple[str, ...]:
        """Names of the parameters that the search proposes."""
        return tuple(n for n, s in self.strategies.items() if isinstance(s, Bayesian))

    @cached_property
    def source(self) -> Source:
        """Where the values of its sets come from."""
        strategies = self.strategies.values()
        return next(
            source for kind, source in _SOURCES if any(isinstance(s, kind) for s in strategies)
        )

    @property
    def drawn(self) -> bool:
        """Whether its sets are complete and drawn at random."""
        return self.source in (Source.RANDOM, Source.CHOICE)

    def describe(self) -> dict[str, Any]:
        """JSON-able description."""
        return {
            "count": self.count,
            "strategies": {name: s.describe() for name, s in self.strategies.items()},
        }


class Table:
    """All parameter sets of an experiment; a pure function of its definition and seed.

    Attributes
    ----------
    types : dict of str to ParameterType
        In declared order.
    groups : list of Group
    dtype : numpy.dtype
        Structured, one field a parameter.
    values : ndarray of shape (N,), dtype `dtype`
        Zero or empty where a Bayesian search proposes the value.
    group_of : ndarray of shape (N,), int32
        Number of each set's group.
    repeats : Repeats
        How often each set is evaluated.

    Notes
    -----
    Methods take the index of an evaluation. Unless there are repeats, that is the number of the
    parameter set.
    """

    def __init__(
        self,
        types: Mapping[str, ParameterType],
        groups: Sequence[Group],
        values: np.ndarray,
        repeats: Repeats = ONCE,
    ):
        self.types = dict(types)
        self.repeats = repeats
        self.groups = list(groups)
        self.values = values
        self.dtype = values.dtype
        counts = [group.count for group in self.groups]
        self.group_of = np.repeat(np.arange(len(counts), dtype=np.int32), counts)

    @classmethod
    def draw(
        cls,
        types: Mapping[str, ParameterType],
        groups: Sequence[Group],
        seed: int,
        duplicates: bool = False,
        repeats: Repeats = ONCE,
    ) -> Table:
        """Draw the table.

        Parameters
        ----------
        types : mapping of str to ParameterType
        groups : sequence of Group
            Sets of a group depend on groups before it, never on those behind it.
        seed : int
        duplicates : bool
            Whether drawn sets may equal earlier ones.
        repeats : Repeats
            How often each set is evaluated.

        Raises
        ------
        DefinitionError
            If a group asks for more different sets than there are.
        """
        dtype = _row_dtype(types, groups)
        values = np.zeros(sum(group.count for group in groups), dtype)
        check = not duplicates and any(group.drawn for group in groups)
        seen: set[Hashable] | None = set() if check else None
        for number, group in enumerate(groups):
            rows = values[group.start : group.start + group.count]
            GroupDrawer(number, group.strategies, dtype, seed, seen).fill(rows)
        return cls(types, groups, values, repeats)

    def __len__(self) -> int:
        return len(self.values)

    def __reduce__(self) -> tuple:
        return Table, (self.types, self.groups, self.values, self.repeats)

    @property
    def evaluations(self) -> int:
        """Number of evaluations that there may be, repeats included."""
        return len(self) * self.repeats.most

    def group(self, index: int) -> Group:
        """The group of an evaluation's set."""
        return self.groups[self.group_of[index // self.repeats.most]]

    def source(self, index: int) -> Source:
        """Where the values of an evaluation's set come from."""
        return self.group(index).source

    def bayesian(self, index: int) -> tuple[str, ...]:
        """Names of the parameters that the search proposes."""
        return self.group(index).bayesian

    def defined(self, index: int) -> dict[str, Any]:
        """Values that do not wait for a search, in declared order."""
        proposed = self.bayesian(index)
        row = self.values[index // self.repeats.most]
        return {
            name: kind.from_column(row[name])
            for name, kind in self.types.items()
            if name not in proposed
        }

    def pack(self, index: int, values: Mapping[str, Any]) -> np.ndarray:
        """One row, complete.

        Parameters
        ----------
        index : int
            The evaluation.
        values : mapping of str to object
            Values of at least its Bayesian parameters; the others come from the table.

        Returns
        -------
        ndarray of shape (), dtype `dtype`

        Raises
        ------
        DefinitionError
            If a value is none of the parameter's type.
        """
        row = np.array(self.values[index // self.repeats.most], dtype=self.dtype)
        for name in self.bayesian(index):
            kind = self.types[name]
            cell = kind.to_column(kind.convert(values[name]))
            if isinstance(cell, bytes) and len(cell) > self.dtype[name].itemsize:
                raise ValueError(f"the text {cell!r} is wider than the column {name!r}")
            row[name] = cell
        return row

    def unpack(self, row: Any) -> dict[str, Any]:
        """Values of a packed row, in declared order."""
        row = np.asarray(row, dtype=self.dtype)
        if isinstance(row, np.ndarray):
            row = row[()]  # fields of an array of shape () would be arrays again
        return {name: kind.from_column(row[name]) for name, kind in self.types.items()}

    def to_csv(self, stream: TextIO) -> None:
        """Write all sets as CSV: index, source, names of Bayesian parameters, values.

        A cell that the search will propose is empty.
        """
        meta = ["index", "source", "bayesian"]
        while any(name in self.types for name in meta):
            meta = [f"{name}_" for name in meta]
        import csv

        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*meta, *self.types])
        for index in range(len(self)):
            group = self.groups[self.group_of[index]]
            values = self.defined(index * self.repeats.most)
            cells = [_text(values[n]) if n in values else "" for n in self.types]
            writer.writerow([index, group.source.name.lower(), " ".join(group.bayesian), *cells])

    def render(self, max_rows: int | None = 40) -> str:
        """A plain-text table for people.

        Parameters
        ----------
        max_rows : int or None
            Most sets to show, the first and the last of them; None shows all.
        """
        count = len(self)
        most = count if max_rows is None else min(max(max_rows, 1), count)
        head = range(most - most // 2)
        tail = range(count - most // 2, count)
        lines = [["index", "source", *self.types], *map(self._line, head)]
        if most < count:
            lines.append(["..."] * len(lines[0]))
        lines += map(self._line, tail)
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = "".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            + "\n"
            for line in lines
        )
        if most < count:
            text += f"({count} sets, {count - most} of them not shown)\n"
        least, extra = self.repeats
        if extra > 1:
            text += f"(each evaluated {least} times" if least > 1 else "(each evaluated once"
            text += f", contenders up to {extra} times)\n" if extra > least else ")\n"
        return text

    def _line(self, index: int) -> list[str]:
        values = self.defined(index * self.repeats.most)
        group = self.groups[self.group_of[index]]
        cells = [
            _text(values[name]) if name in values else group.strategies[name].summary()
            for name in self.types
        ]
        return [str(index), group.source.name.lower(), *cells]


def _row_dtype(types: Mapping[str, ParameterType], groups: Sequence[Group]) -> np.dtype:
    fields = []
    for name, kind in types.items():
        dtype = kind.dtype
        if dtype == TEXT:
            widths = [group.strategies[name].cells.dtype.itemsize for group in groups]
            dtype = np.dtype(f"S{max([1, *widths])}")
        fields.append((name, dtype))
    return np.dtype(fields)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("ascii", "backslashreplace")
    return str(value)
