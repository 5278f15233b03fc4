"""One call of the target on one parameter set: both styles, capture, judging the result."""

from __future__ import annotations

import builtins
import contextlib
import inspect
import math
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np

from .capture import Capture
from .errors import DefinitionError
from .judging import ExpressionFailed, UnusableResult, cause_of, judge, reason_of, traceback_of
from .log import Cause, Outcome, Proposal, Status
from .repeats import ONCE, Repeats

KEYWORDS = "keywords"
ONE_ARGUMENT = "one-argument"

_PURPOSE_EVALUATION = 2

#: Undeclared metrics that are longer than this as JSON do not fit into a row of the results
#: file; they are kept whole in the evaluation's folder.
UNDECLARED_BYTES = 250


class Context:
    """What an evaluation may ask about itself, through :func:`phs_mpi.current`.

    Attributes
    ----------
    index : int
        The parameter set.
    repeat : int
        Which of its repeats, from 0; always 0 without repeats.
    seed : int
        A seed of its own (0 to 2**63 - 1), the same in every run of the experiment, and another
        one for each repeat.
    worker : int
        Number of the worker (its rank under MPI).
    values : dict of str to object
        The parameter set.
    """

    def __init__(
        self,
        index: int,
        repeat: int,
        worker: int,
        values: dict,
        folder: Path,
        experiment_seed: int,
    ):
        self.index = index
        self.repeat = repeat
        self.worker = worker
        self.values = values
        self._folder = folder
        self._experiment_seed = experiment_seed

    @property
    def folder(self) -> Path:
        """This evaluation's own folder, made when first asked for."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    @property
    def seed(self) -> int:
        entropy = [self._experiment_seed, _PURPOSE_EVALUATION, self.index]
        if self.repeat:
            entropy.append(self.repeat)
        return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)


_current: ContextVar[Context | None] = ContextVar("current evaluation", default=None)


def evaluation_folder(parent: Path, index: int, repeats: Repeats) -> Path:
    """The folder of an evaluation: ``000012``, or with repeats ``000012.0``, ``000012.1``, …"""
    name = f"{repeats.set_of(index):06d}"
    return parent / (name if repeats.most == 1 else f"{name}.{repeats.repeat_of(index)}")


def current() -> Context:
    """The evaluation that is running in this process.

    Returns
    -------
    Context
        Its ``index``, ``repeat``, ``folder``, ``seed``, ``worker`` and ``values``.

    Raises
    ------
    RuntimeError
        If called outside an evaluation.
    """
    running = _current.get()
    if running is None:
        raise RuntimeError("phs_mpi.current() was called while no evaluation is running")
    return running


def target_style(target: Callable, names: Sequence[str]) -> str:
    """How the target wants its parameters.

    Parameters
    ----------
    target : callable
        The user's function.
    names : sequence of str
        Names of the experiment's parameters.

    Returns
    -------
    str
        ``"keywords"``: called as ``target(x=..., y=...)``; ``"one-argument"``: called with
        one dictionary whose ``"hyperpar"`` is code that sets the parameters.

    Raises
    ------
    DefinitionError
        If it is not callable, or its signature fits neither.
    """
    if not callable(target):
        raise DefinitionError(
            f"the target {target!r} is not callable",
            value=target,
            remedy="give Experiment a function as its first argument",
        )
    label = getattr(target, "__name__", type(target).__name__)
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return KEYWORDS  # some builtins do not tell; their own error will
    try:
        signature.bind(**dict.fromkeys(names))
        return KEYWORDS
    except TypeError as error:
        reason = str(error)
    required = [
        p
        for p in signature.parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if len(required) == 1 and required[0].kind is not inspect.Parameter.KEYWORD_ONLY:
        if required[0].name not in names:
            return ONE_ARGUMENT
    raise DefinitionError(
        f"the target {label}{signature} cannot be called with the parameters "
        f"({', '.join(names)}): {reason}",
        value=target,
        remedy=f"define it as def {label}({', '.join(names)}), or as def {label}(parameter) "
        'with exec(parameter["hyperpar"], globals(), globals()) in it',
    )


class Evaluator:
    """Calls the target and turns whatever happens into an :class:`~phs_mpi.log.Outcome`.

    Parameters
    ----------
    target : callable
        The user's function.
    names : sequence of str
        Parameters in declared order.
    expressions : iterable of str
        Those of them whose values are texts of Python expressions.
    folder : Path
        Parent of the evaluations' folders.
    worker : int
        Number of this worker.
    host : str
        Name of this machine.
    seed : int
        The experiment's seed.
    metrics : sequence of str
        Names of the metrics that the target must return.
    capture : bool
        Whether stdout and stderr go to files in the evaluation's folder.
    output_limit : int
        Bytes that one evaluation may print to either of them; with `capture` only.
    repeats : Repeats
        How evaluations are numbered.
    """

    def __init__(
        self,
        target: Callable,
        names: Sequence[str],
        *,
        expressions: Sequence[str] = (),
        folder: Path,
        worker: int = 0,
        host: str = "",
        seed: int = 0,
        metrics: Sequence[str] = (),
        capture: bool = True,
        output_limit: int = 64 << 20,
        repeats: Repeats = ONCE,
    ):
        self._repeats = repeats
        self._target = target
        self._style = target_style(target, names)
        self._expressions = frozenset(expressions)
        self._folder = folder
        self._worker = worker
        self._host = host
        self._seed = seed
        self._metrics = tuple(metrics)
        self._limit = output_limit
        self._capture = Capture(folder, worker, output_limit) if capture else None
        self._compiled: dict[str, Any] = {}

    def __call__(self, proposal: Proposal) -> Outcome:
        """Evaluate one parameter set; returns whatever the target does.

        Raises
        ------
        OutputLost
            If there is nowhere to keep what it prints; then the target is not called.
        """
        folder = evaluation_folder(self._folder, proposal.index, self._repeats)
        context = Context(
            self._repeats.set_of(proposal.index),
            self._repeats.repeat_of(proposal.index),
            self._worker,
            dict(proposal.values),
            folder,
            self._seed,
        )
        outcome = Outcome(proposal.index, Status.FAILED, worker=self._worker, host=self._host)
        if proposal.refused:
            outcome.start = outcome.end = time.time()
            outcome.error = proposal.refused
            return outcome
        capture = self._capture.redirect() if self._capture else contextlib.nullcontext()
        with capture:
            outcome.start = time.time()
            begun = time.perf_counter()
            try:
                returned = self._call(context)
                outcome.result, outcome.metrics = judge(returned, self._metrics)
                outcome.status = Status.DONE
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # whatever a target throws is its failure, not ours
                outcome.error = reason_of(error)
                outcome.cause = cause_of(error)
                if not isinstance(error, UnusableResult):
                    outcome.traceback = traceback_of(error, __file__)
            lost = self._keep_metrics(outcome, context)
            # The clock that is shared between hosts may be set back; durations may not.
            outcome.end = outcome.start + (time.perf_counter() - begun)
        if self._capture:
            printed, unkept = self._capture.collect(folder)
            lost = lost or unkept
            if printed > self._limit:
                outcome.status = Status.FAILED
                outcome.result = math.nan
                outcome.cause = Cause.RESULT
                outcome.error = (
                    f"printed more than {self._limit:,} bytes (output_limit); the beginning is kept"
                )
        if lost:
            # The result counts all the same; if its row cannot be written either, the run ends.
            outcome.error = f"{outcome.error}; {lost}" if outcome.error else lost
        return outcome

    def _keep_metrics(self, outcome: Outcome, context: Context) -> str:
        """Write metrics that the row has no room for to ``metrics.json``; why not, if not."""
        undeclared = {k: v for k, v in outcome.metrics.items() if k not in self._metrics}
        if undeclared:
            import json

            text = json.dumps(outcome.metrics)
            if len(json.dumps(undeclared)) > UNDECLARED_BYTES:
                try:
                    (context.folder / "metrics.json").write_text(text, encoding="utf-8")
                except OSError as error:
                    return f"its metrics are not all kept: {error.strerror or error}"
        return ""

    def close(self) -> None:
        """Remove the capture's temporary files."""
        if self._capture:
            self._capture.close()

    def _call(self, context: Context) -> Any:
        token = _current.set(context)
        try:
            if self._style == KEYWORDS:
                values = self._evaluated(context) if self._expressions else context.values
                return self._target(**values)
            from .hyperpar import hyperpar, names_restored  # few targets are of that style

            code = hyperpar(context.values, self._expressions)
            argument = {
                "hyperpar": code,
                "worker_save_path": str(context.folder),
                "index": context.index,
                "repeat": context.repeat,
                "seed": context.seed,
            }
            with names_restored(self._namespace(), code):
                return self._target(argument)
        finally:
            _current.reset(token)

    def _namespace(self) -> dict[str, Any]:
        function = inspect.unwrap(self._target)
        function = getattr(function, "func", function)  # functools.partial
        function = getattr(function, "__func__", function)  # bound method
        namespace = getattr(function, "__globals__", None)
        if namespace is None:
            # An object with __call__; builtins have no globals at all.
            namespace = getattr(type(function).__call__, "__globals__", {})
        return namespace

    def _evaluated(self, context: Context) -> dict[str, Any]:
        """Values with expressions evaluated in declared order."""
        # One dict for globals and locals: a comprehension inside an expression sees only
        # globals. A copy, so that nothing leaks into the user's module.
        scope = dict(self._namespace())
        scope.setdefault("__builtins__", builtins)
        values: dict[str, Any] = {}
        for name, value in context.values.items():
            if name in self._expressions:
                code = self._compiled.get(value)
                if code is None:
                    code = compile(value.strip(), f"<expr of {name}>", "eval")
                    self._compiled[value] = code
                try:
                    value = eval(code, scope)
                except Exception as error:
                    raise ExpressionFailed(
                        f"the expr {name} = {value} raised {type(error).__name__}: {error}"
                    ) from error
            scope[name] = values[name] = value
        context.values = values
        return values
