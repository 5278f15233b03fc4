"""Why a set was proposed: the proposal worked out once more, from the results file alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .analysis import best_so_far, results, standard_errors
from .analysis import error as reason
from .errors import PhsError
from .experiment import Experiment
from .log import EntryKind, Log, LogEntry, LogReader, Source, Status
from .search.history import Explanation, TableProposer
from .store.snapshot import Snapshot
from .strategies import Bayesian, Explicit, Strategy
from .table import Group, Table

#: Runners-up that are shown.
RUNNERS_UP = 4


class NotExplicable(PhsError):
    """The file does not say all that the proposal rested on."""


def explain(snapshot: Snapshot, index: int) -> Explanation:
    """Work out the proposal of one set once more.

    Parameters
    ----------
    snapshot : Snapshot
        A results file.
    index : int
        A set that was proposed by the search.

    Returns
    -------
    Explanation
        Whether its proposal is that of the file is for the caller to compare.

    Raises
    ------
    NotExplicable
        If there is no such set, it was not proposed, or something that the proposal rested on
        is not in the file any more.
    """
    if not 0 <= index < len(snapshot):
        raise NotExplicable(
            f"there is no set {index}", value=index, remedy=f"give one of 0 to {len(snapshot) - 1}"
        )
    place = int(snapshot.standing_for[index])
    if not snapshot.finished[place]:
        raise NotExplicable(f"set {index} has not been evaluated yet", value=index)
    try:
        experiment = experiment_of(snapshot)
        table = experiment.table()
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise NotExplicable(
            f"{snapshot.path} is damaged: its definition makes no sense ({error})",
            value=str(snapshot.path),
        ) from error
    source = Source(int(snapshot.columns["source"][place]))
    if source == Source.REPEATED:
        raise NotExplicable(
            f"set {index} cannot be explained: the evaluation that it was proposed for was lost "
            "or failed, and others took over the values only",
            value=index,
        )
    if not table.bayesian(place):
        kind = source.name.lower()
        raise NotExplicable(
            f"set {index} was not proposed: its values are {kind}",
            value=index,
            remedy="give the index of a Bayesian set",
        )
    length = int(snapshot.columns["log_length"][place])
    reader = LogReader(Log(_entries(snapshot, table, length)), table.repeats)
    reader.advance(length)
    for other in (*reader.completed, *reader.pending):
        if table.groups[table.group_of[other]].bayesian and other not in reader.rows:
            raise NotExplicable(
                f"set {index} cannot be explained: it rests on values of set {other} that were "
                "replaced when that was evaluated again",
                value=index,
            )
    return TableProposer(experiment, table).explain(place, reader, RUNNERS_UP)


def text(snapshot: Snapshot, index: int) -> tuple[str, bool]:
    """The explanation in words, and whether the proposal came out as it is in the file."""
    explanation = explain(snapshot, index)
    proposal = explanation.proposal
    lines = [f"set {index} of {snapshot.path}: {_how(snapshot, explanation)}"]
    lines += _seen(snapshot, explanation)
    lines += _values(snapshot, explanation, index)
    if proposal.source == Source.BAYESIAN:
        lines.append(_predicted(snapshot, explanation, index))
        lines += _others(explanation)
    differing = differences(snapshot, explanation)
    if differing:
        lines.append(f"worked out once more it differs in {', '.join(differing)}: another version")
        lines.append("of phs_mpi or its libraries, another processor, or an experiment that has")
        lines.append("been extended since")
    else:
        lines.append("worked out once more from the file: the same to the last bit")
    return "\n".join(lines), not differing


def differences(snapshot: Snapshot, explanation: Explanation) -> list[str]:
    """Names of what is not as in the file, to the last bit."""
    proposal = explanation.proposal
    stored = snapshot.values(snapshot.repeats.set_of(proposal.index))
    found = [name for name, value in proposal.values.items() if not _same(value, stored[name])]
    for name in ("mean", "std", "acquisition"):
        if not _same(getattr(proposal, name), float(snapshot.columns[name][proposal.index])):
            found.append(name)
    return found


# -- inside ------------------------------------------------------------------------------


def _same(a: Any, b: Any) -> bool:
    return bool(a == b) or (a != a and b != b)


def experiment_of(snapshot: Snapshot) -> Experiment:
    """The experiment that a results file is of, but for its target."""
    definition = snapshot.definition
    options = ("seed", "maximize", "wait_for_all", "acquisition", "surrogate", "repeats")
    experiment = Experiment(
        _no_target,
        [(name, kind) for name, kind in snapshot.declared.items()],
        **{name: definition[name] for name in options if name in definition},
    )
    start = 0
    for group in definition["groups"]:
        strategies = {
            name: _strategy(described, snapshot, name, start).bind(experiment.types[name])
            for name, described in group["strategies"].items()
        }
        experiment.groups.append(Group(start, group["count"], strategies))
        start += group["count"]
    experiment.adopt(
        Table(experiment.types, experiment.groups, snapshot.defined, experiment.repeats)
    )
    return experiment


def _no_target(**values: Any) -> float:
    raise AssertionError("nothing is evaluated here")


def _strategy(described: dict[str, Any], snapshot: Snapshot, name: str, start: int) -> Strategy:
    if described["strategy"] == "bayesian":
        options = {k: v for k, v in described.items() if k != "strategy"}
        if "categories" in options:
            return Bayesian(options["categories"], ordered=options["ordered"])
        return Bayesian(options.pop("low"), options.pop("high"), **options)
    # The search sees only the values of the others, which are in the table.
    return Explicit(snapshot.types[name].from_column(snapshot.defined[name][start]))


def _entries(snapshot: Snapshot, table: Table, length: int) -> list[LogEntry]:
    """The first entries of the log, with results and values as far as they are known.

    A set that was started again had failed before, or was lost; what it was then is gone.
    """
    log = snapshot.log
    if length > len(log):
        raise NotExplicable(f"the log has {len(log)} entries, and the set rests on {length}")
    kinds, indices = log["kind"], log["index"]
    last_start = {int(i): p for p, (k, i) in enumerate(log[["kind", "index"]].tolist()) if k == 1}
    results = snapshot.columns["result"]
    done = snapshot.status == Status.DONE
    entries = []
    for place in range(length):
        kind, i = EntryKind(int(kinds[place])), int(indices[place])
        latest = place >= last_start.get(i, -1)
        result, row = math.nan, None
        if kind == EntryKind.COMPLETED and latest and done[i]:
            result = float(results[i])
        if kind != EntryKind.LOST and latest and snapshot.finished[i] and table.bayesian(i):
            row = table.pack(i, snapshot.values(snapshot.repeats.set_of(i)))
        entries.append(LogEntry(kind, i, result=result, row=row))
    return entries


def _how(snapshot: Snapshot, explanation: Explanation) -> str:
    length = explanation.proposal.log_length
    if explanation.proposal.source == Source.SOBOL:
        return f"a point of a Sobol sequence, as {length} log entries held no two results"
    definition = snapshot.definition
    model = {"gp": "a Gaussian process"}.get(definition.get("surrogate", "gp"), "a forest of trees")
    return f"proposed by {model} from {length} log entries"


def _seen(snapshot: Snapshot, explanation: Explanation) -> list[str]:
    sets = list(explanation.completed)
    found = np.array([explanation.completed[i] for i in sets])
    what = "evaluations" if snapshot.repeats.most == 1 else "sets"
    lines = [f"  it had seen  {len(sets)} {what}, {np.isnan(found).sum()} of them failed"]
    if np.isfinite(found).any():
        best = best_so_far(found, snapshot.maximize)[-1]
        lines[0] += f"; best {best:.6g} (set {sets[int(np.nanargmin(abs(found - best)))]})"
    for label, sets in (
        ("pending", explanation.pending),
        ("guessed", explanation.simultaneous),
    ):
        if sets:
            lines.append(f"  {label:11}  {', '.join(map(str, sets))}")
    return lines


def _values(snapshot: Snapshot, explanation: Explanation, index: int) -> list[str]:
    stored = snapshot.values(index)
    width = max(map(len, stored))
    lines = []
    for name, value in stored.items():
        shown = f"{value:.6g}" if isinstance(value, float | np.floating) else repr(value)
        line = f"  {name:{width}} = {shown}"
        if name in explanation.lengthscales:
            line = f"{line:{width + 24}}  lengthscale {explanation.lengthscales[name]:.3g}"
        lines.append(line)
    if explanation.lengthscales:
        lines.append("  (lengthscales in widths of the bounds: short ones matter more)")
    return lines


def _predicted(snapshot: Snapshot, explanation: Explanation, index: int) -> str:
    proposal = explanation.proposal
    line = f"  predicted    {proposal.mean:.6g} ± {proposal.std:.2g}"
    line += f", acquisition {proposal.acquisition:.4g}"
    result = float(results(snapshot)[index])
    if not math.isnan(result):
        line += f"; found {result:.6g}"
        error = 0.0
        if snapshot.repeats.most > 1:
            error = float(standard_errors(snapshot)[index])
            line += ", evaluated once" if math.isnan(error) else f" ± {error:.2g}"
        if proposal.std > 0 and not math.isnan(error):
            off = (result - proposal.mean) / math.hypot(proposal.std, error)
            line += f" ({off:+.1f} standard deviations)"
    else:
        line += f"; failed: {reason(snapshot, index)}"
    return line


def _others(explanation: Explanation) -> list[str]:
    lines = []
    for place, other in enumerate(explanation.runners_up, start=1):
        values = ", ".join(
            f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v!r}"
            for k, v in other.values.items()
        )
        lines.append(
            f"  runner-up {place}  {values}: {other.mean:.4g} ± {other.std:.2g}, "
            f"acquisition {other.acquisition:.4g}"
        )
    return lines
