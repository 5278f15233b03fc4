"""Several runs side by side: what each found and cost, and what their differences allow to say.

Pure: snapshots in, numbers and text out.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from . import analysis
from .errors import PhsError
from .log import EntryKind
from .store.snapshot import Snapshot
from .strategies.bayesian import ACQUISITIONS, SURROGATES
from .summary import duration

#: What a definition leaves out where nothing else is given.
DEFAULTS = {"acquisition": ACQUISITIONS[0], "surrogate": SURROGATES[0], "repeats": [1, 1]}
#: Runs of each group that a test wants at least.
LEAST_RUNS = 3
#: Share of the way from the best to a typical result that counts as having reached the best.
WITHIN = 0.05


class Run(NamedTuple):
    """One results file.

    Attributes
    ----------
    name : str
        Of the file.
    group : int
        Runs of one group differ in their seed only.
    seed : int
    evaluations, failed, to_do : int
    best : float
        Best result of all its sets.
    best_then : float
        Best result after as many evaluations as the shortest run has made; NaN without any.
    reached : int or None
        Evaluations that it took to reach the goal; None if it did not.
    seconds : float
        In which at least one worker was at work.
    workers : int
    evaluating : float
        Share of the workers' time.
    """

    name: str
    group: int
    seed: int
    evaluations: int
    failed: int
    to_do: int
    best: float
    best_then: float
    reached: int | None
    seconds: float
    workers: int
    evaluating: float


class Test(NamedTuple):
    """A two-sided Mann-Whitney U test of the best results of two groups.

    Attributes
    ----------
    p : float
        Chance of ranks as far apart or farther, if both groups found alike.
    smallest : float
        The smallest p that so many runs can give.
    sizes : (int, int)
    """

    p: float
    smallest: float
    sizes: tuple[int, int]


@dataclass
class Comparison:
    """Runs side by side.

    Attributes
    ----------
    runs : list of Run
        In the order of the files.
    groups : list of str
        What tells each group from the others.
    goal : float
        Result that counts as the best.
    within : str
        How that is meant, in words.
    common : int
        Evaluations of the shortest run.
    test : Test or None
        Of two groups; None if it is not allowed.
    left_out : list of str
        Statistics that the files do not allow, and why, a line each.
    """

    runs: list[Run]
    groups: list[str]
    goal: float
    within: str
    common: int
    test: Test | None = None
    left_out: list[str] = field(default_factory=list)

    def of_group(self, number: int) -> list[Run]:
        """The runs of one group."""
        return [run for run in self.runs if run.group == number]


def compare(
    snapshots: Sequence[Snapshot], within: float | None = None, optimum: float | None = None
) -> Comparison:
    """Put runs side by side.

    Parameters
    ----------
    snapshots : sequence of Snapshot
        Of the same target.
    within : float, optional
        Distance from the best that counts as having reached it. Default: `WITHIN` of the way
        from the best to the median of the drawn results (Moré and Wild 2009, SIAM J. Optim.
        20, 172, ask for a share of the way from the start).
    optimum : float, optional
        Best possible result; default: the best of all files.

    Raises
    ------
    PhsError
        If there are fewer than two files, one has no result, they are of different targets,
        or some maximise and others minimise.
    """
    _check(snapshots)
    maximize = snapshots[0].maximize
    found = [analysis.results(snapshot) for snapshot in snapshots]
    everything = np.concatenate(found)
    best = float(np.nanmax(everything) if maximize else np.nanmin(everything))
    if optimum is not None:
        if (best > optimum) if maximize else (best < optimum):
            raise PhsError(
                f"the best result, {best!r}, is better than the optimum {optimum!r}",
                value=optimum,
                remedy="give the true one, or leave it out",
            )
        best = optimum
    what = f"the optimum, {best:.6g}" if optimum is not None else f"the best of all, {best:.6g}"
    distance, words = within, f"within {within!r} of {what}"
    if distance is None:
        drawn = np.concatenate(
            [r[~analysis.searched(s)] for r, s in zip(found, snapshots, strict=True)]
        )
        typical = float(np.nanmedian(drawn if np.isfinite(drawn).any() else everything))
        distance = WITHIN * abs(typical - best)
        words = (
            f"{100 * WITHIN:g} % of the way from {what}, to a typical drawn result, {typical:.6g}"
        )
    goal = best - distance if maximize else best + distance
    keys = [analysis.without_seed(snapshot) for snapshot in snapshots]
    distinct = list(dict.fromkeys(keys))
    orders = [_by_completion(snapshot) for snapshot in snapshots]
    common = min(len(order) for order in orders)
    runs = [
        _run(snapshot, distinct.index(key), results, order, goal, common)
        for snapshot, key, results, order in zip(snapshots, keys, found, orders, strict=True)
    ]
    names = _names([json.loads(key) for key in distinct])
    comparison = Comparison(runs, names, goal, words, common)
    _judge(comparison)
    return comparison


def _check(snapshots: Sequence[Snapshot]) -> None:
    if len(snapshots) < 2:
        raise PhsError(
            "there is nothing to compare: one results file is given",
            remedy="name two or more",
        )
    first = snapshots[0]
    for snapshot in snapshots:
        target, other = first.definition.get("target"), snapshot.definition.get("target")
        if target != other:
            raise PhsError(
                f"{first.path} and {snapshot.path} cannot be compared: their targets are "
                f"{target!r} and {other!r}",
                value=other,
                remedy="compare runs of one target",
            )
        if snapshot.maximize != first.maximize:
            raise PhsError(
                f"{first.path} and {snapshot.path} cannot be compared: one maximises, the other "
                "minimises",
                remedy="compare runs that search for the same",
            )
        if not snapshot.done.any() or analysis.best(snapshot) is None:
            raise PhsError(
                f"{snapshot.path} has nothing to compare: no result yet",
                value=str(snapshot.path),
                remedy="leave it out, or wait for its first result",
            )


def _by_completion(snapshot: Snapshot) -> np.ndarray:
    """Finished evaluations in the order in which they completed."""
    completed = snapshot.log["index"][snapshot.log["kind"] == EntryKind.COMPLETED]
    last = np.full(len(snapshot.status), len(snapshot.log))
    last[completed] = np.arange(len(completed))
    finished = np.flatnonzero(snapshot.finished)
    return finished[np.argsort(last[finished], kind="stable")]


def _run(
    snapshot: Snapshot,
    group: int,
    results: np.ndarray,
    order: np.ndarray,
    goal: float,
    common: int,
) -> Run:
    count, use = analysis.counts(snapshot), analysis.utilisation(snapshot)
    # A set counts from the last of its evaluations.
    when = np.zeros(len(snapshot), int)
    np.maximum.at(when, order // snapshot.repeats.most, np.arange(1, len(order) + 1))
    good = results >= goal if snapshot.maximize else results <= goal
    then = results[(when > 0) & (when <= common) & ~np.isnan(results)]
    best = np.max if snapshot.maximize else np.min
    return Run(
        name=snapshot.path.name,
        group=group,
        seed=int(snapshot.definition.get("seed", 0)),
        evaluations=count.finished,
        failed=count.failed + count.timed_out,
        to_do=count.left,
        best=float(results[analysis.best(snapshot)]),
        best_then=float(best(then)) if len(then) else math.nan,
        reached=int(when[good].min()) if good.any() else None,
        seconds=analysis.wall_time(snapshot),
        workers=len(use.worker),
        evaluating=float(use.overall()[0]),
    )


def _names(definitions: Sequence[dict[str, Any]]) -> list[str]:
    """What tells experiments apart, for each."""
    keys = list(dict.fromkeys(key for d in definitions for key in d))
    shown = {key: [json.dumps(d.get(key)) for d in definitions] for key in keys}
    differing = [key for key in keys if len(set(shown[key])) > 1]
    names = []
    for number, definition in enumerate(definitions):
        parts = []
        for key in differing:
            value = definition.get(key, DEFAULTS.get(key))
            nested = isinstance(value, list | dict) and key != "repeats"
            kind = list(dict.fromkeys(shown[key])).index(shown[key][number])
            parts.append(f"{key} no. {kind + 1}" if nested else f"{key}={value}")
        names.append(", ".join(parts))
    return names


def _judge(comparison: Comparison) -> None:
    """Find out which statistics the runs allow."""
    left_out = comparison.left_out
    sizes = [len(comparison.of_group(number)) for number in range(len(comparison.groups))]
    repeated = [
        seed
        for number in range(len(sizes))
        for seed, count in Counter(run.seed for run in comparison.of_group(number)).items()
        if count > 1
    ]
    if max(sizes) == 1:
        left_out.append("median and quartiles: no two files are of one experiment with other seeds")
    if len(sizes) == 1:
        left_out.append("a test: all files are of one experiment, and differ in their seed only")
    elif len(sizes) > 2:
        left_out.append(f"a test: there are {len(sizes)} experiments; compare two at a time")
    elif min(sizes) < LEAST_RUNS:
        left_out.append(
            f"a test: it takes {LEAST_RUNS} runs of each experiment, and there are "
            f"{sizes[0]} and {sizes[1]}"
        )
    elif repeated:
        left_out.append(
            f"a test: two runs of one experiment have the seed {repeated[0]}, and so share their "
            "drawn sets; runs must be independent"
        )
    else:
        values = [[run.best_then for run in comparison.of_group(number)] for number in (0, 1)]
        if np.isnan(np.concatenate(values)).any():
            left_out.append(
                f"a test: a run has no result in its first {comparison.common} evaluations"
            )
        elif len(set(np.concatenate(values).tolist())) == 1:
            left_out.append("a test: all runs have found the same best result")
        else:
            comparison.test = _test(values[0], values[1])


def _test(first: Sequence[float], second: Sequence[float]) -> Test:
    from scipy.stats import mannwhitneyu

    p = float(mannwhitneyu(first, second, alternative="two-sided").pvalue)
    sizes = len(first), len(second)
    return Test(p, 2 / math.comb(sum(sizes), sizes[0]), sizes)


# -- in words ----------------------------------------------------------------------------


def text(comparison: Comparison) -> str:
    """The comparison as a table and some lines below it."""
    groups, runs = comparison.groups, comparison.runs
    lengths = {run.evaluations for run in runs}
    heads = ["file", "seed", "evaluations", "failed", "best"]
    if len(lengths) > 1:
        heads.append(f"best after {comparison.common}")
    heads += ["to reach it", "time at work", "workers", "evaluating"]
    rows = []
    for number, name in enumerate(groups):
        members = comparison.of_group(number)
        if len(groups) > 1:
            rows.append([f"{name}:"])
        rows += [_row(run, len(lengths) > 1) for run in members]
        if len(members) > 1:
            rows += _quartiles(members, len(lengths) > 1)
    lines = _aligned([heads, *rows])
    unfinished = [f"{run.name} ({run.to_do} to do)" for run in runs if run.to_do]
    lines.append("")
    if unfinished:
        lines.append(f"not finished yet: {', '.join(unfinished)}")
    lines.append(f"to reach it: evaluations until a result of {comparison.goal:.6g} ('-': never),")
    lines.append(f"  {comparison.within}")
    if comparison.test is not None:
        test = comparison.test
        lines.append(
            f"Mann-Whitney U test of the best after {comparison.common} evaluations: p = "
            f"{test.p:.2g} with {test.sizes[0]} and {test.sizes[1]} runs"
        )
        lines.append(
            f"  (the smallest p that so many can give is {test.smallest:.2g}; a large p does not "
            "show that they are alike)"
        )
        seeds = [{run.seed for run in comparison.of_group(number)} for number in (0, 1)]
        if seeds[0] & seeds[1]:
            lines.append("  (runs of equal seed may share drawn sets, of which it makes no use)")
    lines += [f"left out: {reason}" for reason in comparison.left_out]
    return "\n".join(lines)


def _row(run: Run, with_common: bool) -> list[str]:
    cells = [run.name, str(run.seed), str(run.evaluations), str(run.failed), f"{run.best:.6g}"]
    if with_common:
        cells.append("-" if math.isnan(run.best_then) else f"{run.best_then:.6g}")
    cells.append("-" if run.reached is None else str(run.reached))
    return [*cells, duration(run.seconds), str(run.workers), f"{100 * run.evaluating:.1f} %"]


def _quartiles(members: Sequence[Run], with_common: bool) -> list[list[str]]:
    """Three rows: lower quartile, median and upper quartile of the columns that have them."""
    # Who has not reached the goal would have needed longer than anybody can tell.
    reached = [math.inf if run.reached is None else run.reached for run in members]
    rows = []
    for name, share in (("lower quartile", 0.25), ("median", 0.5), ("upper quartile", 0.75)):

        def of(values: Sequence[float], share: float = share) -> str:
            with np.errstate(invalid="ignore"):
                at = float(np.quantile(values, share))
            return "-" if not math.isfinite(at) else f"{at:.6g}"

        cells = [f"  {name}", "", of([run.evaluations for run in members])]
        cells += [of([run.failed for run in members]), of([run.best for run in members])]
        if with_common:
            cells.append(of([run.best_then for run in members]))
        seconds = float(np.quantile([run.seconds for run in members], share))
        busy = float(np.quantile([run.evaluating for run in members], share))
        rows.append([*cells, of(reached), duration(seconds), "", f"{100 * busy:.1f} %"])
    return rows


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    full = [row for row in rows if len(row) > 1]
    widths = [max(map(len, column)) for column in zip(*full, strict=True)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False)]
        lines.append("  ".join(cells).rstrip())
    return lines
