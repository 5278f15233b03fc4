"""The definition of an experiment: target, parameters, groups of parameter sets, options."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from phs_mpi.conversion import refuse, shown
from phs_mpi.declaration import parameter_types
from phs_mpi.errors import DefinitionError
from phs_mpi.evaluation import target_style
from phs_mpi.limits import Limits
from phs_mpi.repeats import Repeats
from phs_mpi.retries import Retries
from phs_mpi.strategies import Bayesian, Choice, Explicit, Grid, Random, Strategy
from phs_mpi.strategies.bayesian import ACQUISITIONS, SURROGATES
from phs_mpi.strategies.checks import flag, one_of, whole
from phs_mpi.table import Group, Table

__all__ = ["Experiment", "Group", "Table"]

_MOST_SETS = 10**8


class Experiment:
    """What to evaluate: a target, its parameters, and groups of parameter sets.

    Parameters
    ----------
    target : callable
        Called as ``target(x=..., y=...)``, or in the one-argument style with a dictionary whose
        ``"hyperpar"`` is code that sets the parameters. It returns a number, or a dictionary
        with a number as ``"result"``.
    parameters : mapping of str to type, or sequence of (str, type)
        A type is ``float``, ``int``, ``bool``, ``str``, ``expr``, a NumPy dtype, or a list of
        categories. Expressions are evaluated in declared order.
    seed : int
        All drawn values follow from it.
    maximize : bool
        Whether the highest result is the best; default: the lowest.
    wait_for_all : bool
        Whether a Bayesian set waits for the results of all sets before it, so that its values
        do not depend on the number of workers.
    capture : bool
        Whether what the target prints goes to files in the evaluation's folder.
    output_limit : int
        Bytes one evaluation may print to stdout or to stderr.
    metrics : sequence of str
        Further numbers that the target returns in its dictionary.
    duplicates : bool
        Whether drawn sets may equal earlier ones.
    acquisition : {"logei", "ei", "ucb", "pi", "ts"}
        What Bayesian sets are proposed by: log expected improvement, expected improvement, upper
        confidence bound, probability of improvement, Thompson sampling.
    surrogate : {"gp", "random_forest", "extra_trees"}
        What predicts results: a Gaussian process, or a forest of regression trees.
    repeats : int or (int, int)
        How often each set is evaluated, each time with a seed of its own; its result is the
        mean. A pair: the least, and the most that contenders for the best set get.
    isolate : bool
        Whether evaluations run in a process of their own beside each worker: whatever that does
        or suffers, a crash, a signal, `os._exit`, fails one evaluation and nothing else.
    timeout : float, optional
        Seconds that an evaluation may take; then it is killed. Implies `isolate`.
    memory_limit : int or str, optional
        Bytes of memory, or a text as in ``"4 GiB"``, that an evaluation and all it starts may
        use; then it is killed. Implies `isolate`.
    retries : int, optional
        How often an evaluation that fails is tried again, with the same values, if possible by
        another worker on another host.
    retry_on : sequence of str, optional
        Causes of failures that get another try: "exception" (the target raised), "result" (it
        returned no finite number), "exit", "signal" (how its process ended), "timeout", "memory",
        "lost" (the worker was). Default: all but the first two, which other tries seldom mend.
    monitor : callable or sequence of callable
        Called as ``monitor(evaluation)`` with each evaluation that completes, in a process of
        its own; may differ from run to run.
    name : str, optional
        Default: the name of the file it was loaded from, or of the target.

    Attributes
    ----------
    types : dict of str to ParameterType
        In declared order.
    groups : list of Group
    source, path : str
        Text and path of the file it was loaded from; empty if it was not.

    Raises
    ------
    DefinitionError
        If a name, a type or an option is wrong, or the target cannot be called like that.
    """

    def __init__(
        self,
        target: Callable,
        parameters: Any,
        *,
        seed: int = 0,
        maximize: bool = False,
        wait_for_all: bool = False,
        capture: bool = True,
        output_limit: int = 64 * 2**20,
        metrics: Any = (),
        duplicates: bool = False,
        acquisition: str = "logei",
        surrogate: str = "gp",
        repeats: Any = 1,
        isolate: bool = False,
        timeout: Any = None,
        memory_limit: Any = None,
        retries: Any = None,
        retry_on: Any = None,
        monitor: Any = (),
        name: str | None = None,
    ):
        self.types = parameter_types(parameters)
        target_style(target, self.names)
        self.target = target
        self.seed = seed
        self.maximize = flag("maximize", maximize)
        self.wait_for_all = flag("wait_for_all", wait_for_all)
        self.capture = flag("capture", capture)
        self.output_limit = whole("output_limit", output_limit, 1)
        self.metrics = _metric_names(metrics)
        self.duplicates = flag("duplicates", duplicates)
        self.acquisition = one_of("acquisition", acquisition, ACQUISITIONS)
        self.surrogate = one_of("surrogate", surrogate, SURROGATES)
        self.repeats = _repeats(repeats)
        if self.wait_for_all and self.repeats.least < self.repeats.most:
            refuse(
                "with wait_for_all every set needs the same number of repeats: which ones contend "
                "depends on the order in which they finish",
                repeats,
                f"write repeats={self.repeats.least} or repeats={self.repeats.most}",
            )
        self.limits = Limits.of(flag("isolate", isolate), timeout, memory_limit)
        self.retries = Retries.of(retries, retry_on)
        self.monitors = _monitors(monitor)
        if name is not None and not (isinstance(name, str) and name.strip()):
            refuse(f"name={shown(name)} is not a name", name, "give text, or leave it out")
        self.name = name or qualified_name(target)
        self.named = name is not None
        self.groups: list[Group] = []
        self.source = ""
        self.path = ""

    def __repr__(self) -> str:
        return f"<Experiment {self.name}: {len(self)} sets of {', '.join(self.types)}>"

    def __len__(self) -> int:
        return sum(group.count for group in self.groups)

    @property
    def seed(self) -> int:
        """All drawn values follow from it; a new one makes a new table."""
        return self._seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._seed = whole("seed", seed, 0)
        self._table: Table | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters in declared order."""
        return tuple(self.types)

    @property
    def expressions(self) -> tuple[str, ...]:
        """Names of the parameters whose values are texts of Python expressions."""
        return tuple(name for name, kind in self.types.items() if kind.kind == "expr")

    def add(self, count: int | None = None, /, **strategies: Any) -> None:
        """Append a group of parameter sets.

        Parameters
        ----------
        count : int, optional
            Number of sets. Default: 1, or with grids the number of their combinations; a
            multiple of that goes through the combinations several times.
        **strategies : object
            For each parameter a plain value, or a :class:`~phs_mpi.Grid`,
            :class:`~phs_mpi.Random`, :class:`~phs_mpi.Choice` or
            :class:`~phs_mpi.Bayesian`.

        Raises
        ------
        DefinitionError
            If a parameter is unknown or left out, or a value or option is wrong.
        """
        self._check_names(strategies)
        bound = {name: _strategy(strategies[name]).bind(kind) for name, kind in self.types.items()}
        combinations = math.prod(len(s.cells) for s in bound.values() if isinstance(s, Grid))
        if count is None:
            count = combinations
        elif not isinstance(count, Strategy):
            count = whole("the number of sets", count, 1)
        else:
            refuse(
                f"{type(count).__name__} is given for no parameter",
                count,
                "write add(20, x=Random(-5, 5)), with the parameter's name",
            )
        if count % combinations:
            refuse(
                f"{count} sets are no multiple of the {combinations} combinations of the grids",
                count,
                f"ask for {-(-count // combinations) * combinations}, or leave the number out",
            )
        if (len(self) + count) * self.repeats.most > _MOST_SETS:
            refuse(
                f"{(len(self) + count) * self.repeats.most:,} evaluations are more than the "
                f"{_MOST_SETS:,} possible",
                count,
                "lower the number, or the values of a grid",
            )
        self.groups.append(Group(len(self), count, bound))
        self._table = None

    def _check_names(self, strategies: Mapping[str, Any]) -> None:
        declared = ", ".join(self.types)
        for name in strategies:
            if name not in self.types:
                remedy = f"the parameters are {declared}"
                if name == "count":
                    remedy = "write the number of sets first, without a name: add(20, x=...)"
                import difflib  # what is spelled right needs no suggestion

                for close in difflib.get_close_matches(name, self.types, 1):
                    remedy = f"did you mean {close!r}? {remedy}"
                raise DefinitionError(
                    "there is no such parameter",
                    parameter=name,
                    value=strategies[name],
                    remedy=remedy,
                )
        for name in self.types:
            if name not in strategies:
                raise DefinitionError(
                    "it is left out in add",
                    parameter=name,
                    remedy=f"give each of {declared} a value or a strategy",
                )

    def table(self) -> Table:
        """All parameter sets; drawn when first asked for.

        Raises
        ------
        DefinitionError
            If there are none, or fewer different ones than asked for.
        """
        if not self.groups:
            refuse("the experiment has no parameter sets", None, "call its add()")
        if self._table is None:
            self._table = Table.draw(
                self.types, self.groups, self.seed, self.duplicates, self.repeats
            )
        return self._table

    def adopt(self, table: Table) -> None:
        """Take a table that was drawn before, as a results file keeps it."""
        self._table = table

    def describe(self) -> dict[str, Any]:
        """JSON-able definition, equal for equal experiments."""
        methods = {"acquisition": self.acquisition, "surrogate": self.surrogate}
        defaults = {"acquisition": ACQUISITIONS[0], "surrogate": SURROGATES[0]}
        return {
            "target": qualified_name(self.target),
            "parameters": [kind.describe() for kind in self.types.values()],
            "groups": [group.describe() for group in self.groups],
            "seed": self.seed,
            "maximize": self.maximize,
            "wait_for_all": self.wait_for_all,
            "metrics": list(self.metrics),
            "duplicates": self.duplicates,
            # Only what is not the default: files from before there was a choice go on.
            **({"repeats": list(self.repeats)} if self.repeats.most > 1 else {}),
            **{name: value for name, value in methods.items() if value != defaults[name]},
        }


def _strategy(given: Any) -> Strategy:
    if isinstance(given, type) and given in (Bayesian, Choice, Grid, Random):
        given = given()  # parentheses forgotten: binding says what it lacks
    return given if isinstance(given, Strategy) else Explicit(given)


def _repeats(given: Any) -> Repeats:
    remedy = "write repeats=3, or repeats=(1, 5): extra ones only for contenders"
    if isinstance(given, list | tuple):
        if len(given) != 2:
            refuse(f"repeats={shown(given)} is not a pair", given, remedy)
        least, most = (whole("repeats", number, 1) for number in given)
        if most < least:
            refuse(f"repeats={shown(given)}: the most is less than the least", given, remedy)
        return Repeats(least, most)
    number = whole("repeats", given, 1)
    return Repeats(number, number)


def _monitors(given: Any) -> tuple[Callable, ...]:
    remedy = "give a function of one argument, the evaluation, or a list of such"
    functions = tuple(given) if isinstance(given, list | tuple) else (given,)
    for function in functions:
        if not callable(function):
            refuse(f"monitor={shown(given)} is no function", given, remedy)
        try:
            inspect.signature(function).bind(None)
        except TypeError:
            name = qualified_name(function)
            refuse(f"the monitor {name!r} cannot be called with one argument", given, remedy)
        except ValueError:  # a function in C that has no signature
            continue
    return functions


def qualified_name(target: Any) -> str:
    """What a function is called where it is defined."""
    function = getattr(target, "func", target)  # functools.partial
    return getattr(function, "__qualname__", None) or type(function).__qualname__


def _metric_names(metrics: Any) -> tuple[str, ...]:
    if isinstance(metrics, str) or not isinstance(metrics, list | tuple):
        example = metrics if isinstance(metrics, str) else "accuracy"
        refuse(f"metrics={shown(metrics)} is no list of names", metrics, f"write [{example!r}]")
    for number, name in enumerate(metrics):
        if not isinstance(name, str) or not name.isidentifier():
            refuse(f"the metric {shown(name)} is no identifier", name, "name it like a variable")
        if name == "result":
            refuse("no metric can be called 'result'", name, "that is the target's result itself")
        if name in metrics[:number]:
            refuse(f"the metric {name!r} is there twice", name, "list it once")
    return tuple(metrics)
