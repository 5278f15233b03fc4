"""Runs side by side: numbers, and which statistics are allowed."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from runs import run

from phs_mpi import Bayesian, Experiment, Random, analysis
from phs_mpi.cli import main
from phs_mpi.comparing import compare, text
from phs_mpi.errors import PhsError
from phs_mpi.store import read


def bowl(x, y):
    if x > 0.9:
        raise ValueError("too far")
    return (x - 0.3) ** 2 + (y - 0.6) ** 2


def hill(x, y):
    return -((x - 0.3) ** 2)


@pytest.fixture
def made(tmp_path):
    """Run experiments that differ in what is given; returns snapshots."""

    def made(seeds, name="a", target=bowl, sets=10, searched=0, **options):
        found = []
        for seed in seeds:
            experiment = Experiment(
                target, {"x": float, "y": float}, seed=seed, capture=False, **options
            )
            experiment.add(sets, x=Random(0, 1), y=Random(0, 1))
            if searched:
                experiment.add(searched, x=Bayesian(0, 1), y=Bayesian(0, 1))
            found.append(run(experiment, tmp_path / f"{name}{seed}.h5"))
        return found

    return made


def test_a_row_for_each_file(made):
    snapshots = made([1, 2, 3])
    found = compare(snapshots)
    best = min(analysis.results(s)[analysis.best(s)] for s in snapshots)
    typical = np.nanmedian(np.concatenate([analysis.results(s) for s in snapshots]))
    assert found.goal == pytest.approx(best + 0.05 * (typical - best))
    for line, snapshot in zip(found.runs, snapshots, strict=True):
        results = analysis.results(snapshot)
        assert line.best == np.nanmin(results)
        assert line.best_then == line.best
        assert (line.evaluations, line.to_do) == (10, 0)
        assert line.failed == np.isnan(results).sum()
        good = np.flatnonzero(results <= found.goal)
        assert line.reached == (good[0] + 1 if len(good) else None)
        assert line.workers == 1
        assert line.seconds == analysis.wall_time(snapshot)
        assert line.evaluating == analysis.utilisation(snapshot).overall()[0]
    assert [line.seed for line in found.runs] == [1, 2, 3]
    assert {line.group for line in found.runs} == {0}


def test_reaching_goes_by_the_order_of_completion(made):
    (snapshot, other) = made([1, 2])
    results = analysis.results(snapshot)
    order = np.random.default_rng(0).permutation(10)
    completed = snapshot.log[snapshot.log["kind"] == 2].copy()
    completed["index"] = order
    snapshot.log = completed
    found = compare([snapshot, other], within=1e-9)
    if np.nanmin(results) < np.nanmin(analysis.results(other)):
        place = int(np.flatnonzero(order == np.nanargmin(results))[0]) + 1
        assert found.runs[0].reached == place
        assert found.runs[1].reached is None
    else:
        pytest.fail("choose other seeds: the first run must have the best")


def test_the_distance_and_the_optimum_may_be_given(made):
    snapshots = made([1, 2])
    found = compare(snapshots, within=0.5, optimum=0.0)
    assert found.goal == 0.5
    assert found.runs[0].reached == 1 + int(
        np.argmax(np.nan_to_num(analysis.results(snapshots[0]), nan=9.0) <= 0.5)
    )
    with pytest.raises(PhsError, match=r"better than the optimum 0\.9"):
        compare(snapshots, optimum=0.9)


def test_where_the_highest_is_best(made):
    snapshots = made([1, 2], target=hill, maximize=True)
    found = compare(snapshots)
    assert found.runs[0].best == np.max(analysis.results(snapshots[0]))
    assert found.goal < max(line.best for line in found.runs)
    assert any(line.reached for line in found.runs)


def test_quartiles_of_runs_that_differ_in_their_seed(made):
    found = compare(made([1, 2, 3, 4, 5]))
    lines = text(found).splitlines()
    bests = [line.best for line in found.runs]
    median = next(line for line in lines if line.strip().startswith("median")).split()
    assert float(median[3]) == pytest.approx(np.median(bests), rel=1e-5)
    lower = next(line for line in lines if "lower quartile" in line).split()
    assert float(lower[4]) == pytest.approx(np.quantile(bests, 0.25), rel=1e-5)
    assert "left out: a test: all files are of one experiment" in lines[-1]


def test_a_goal_that_half_of_the_runs_miss_has_no_median(made):
    found = compare(made([1, 2, 3, 4]), within=0.0)
    assert sum(line.reached is None for line in found.runs) == 3
    median = next(r for r in text(found).splitlines() if r.strip().startswith("median")).split()
    assert median[4] == "-"


def exact_p(first, second):
    """The two-sided p of the U test, from all ways in which ranks may fall."""
    values = [*first, *second]

    def statistic(chosen):
        rest = [v for k, v in enumerate(values) if k not in chosen]
        return sum(a > b for a in (values[k] for k in chosen) for b in rest)

    seen = statistic(range(len(first)))
    middle = len(first) * len(second) / 2
    ways = list(combinations(range(len(values)), len(first)))
    return np.mean([abs(statistic(w) - middle) >= abs(seen - middle) for w in ways])


def test_two_experiments_are_tested(made):
    first = made([1, 2, 3], searched=4)
    second = made([4, 5, 6, 7], name="b", searched=4, acquisition="ei")
    found = compare([*first, *second])
    assert found.groups == ["acquisition=logei", "acquisition=ei"]
    values = [[line.best for line in found.of_group(number)] for number in (0, 1)]
    assert found.test.p == pytest.approx(exact_p(*values))
    assert found.test.smallest == pytest.approx(2 / math.comb(7, 3))
    assert found.test.sizes == (3, 4)
    words = text(found)
    assert f"p = {found.test.p:.2g} with 3 and 4 runs" in words
    assert "the smallest p that so many can give is 0.057" in words
    assert "\nacquisition=ei:\nb4.h5 " in words


def test_groups_that_differ_in_their_sets_are_numbered(made):
    found = compare([*made([1, 2]), *made([1, 2], name="b", sets=6)])
    assert found.groups == ["groups no. 1", "groups no. 2"]
    assert found.common == 6
    first = analysis.results(read(made([1])[0].path))[:6]
    assert found.runs[0].best_then == np.nanmin(first)
    assert "best after 6" in text(found)


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ([1, 2], [1, 2, 3], "it takes 3 runs of each experiment, and there are 2 and 3"),
        ([1], [1], "no two files are of one experiment"),
    ],
)
def test_what_too_few_runs_do_not_allow(made, first, second, reason):
    found = compare([*made(first), *made(second, name="b", duplicates=True)])
    assert found.test is None
    assert any(reason in line for line in found.left_out)
    assert f"left out: {found.left_out[0]}" in text(found)


def test_runs_of_one_seed_are_not_independent(made, tmp_path):
    first = made([1, 2, 3])
    again = tmp_path / "again.h5"
    again.write_bytes(first[0].path.read_bytes())
    found = compare([*first, read(again), *made([1, 2, 3], name="b", duplicates=True)])
    assert found.test is None
    assert any("have the seed 1, and so share" in line for line in found.left_out)


def test_equal_bests_are_not_tested(made):
    def flat(x, y):
        return 1.0

    first = made([1, 2, 3], target=flat)
    found = compare([*first, *made([1, 2, 3], name="b", target=flat, duplicates=True)])
    assert found.test is None
    assert any("the same best result" in line for line in found.left_out)
    assert found.runs[0].reached == 1


def test_three_experiments(made):
    files = [*made([1]), *made([1], name="b", duplicates=True), *made([1], name="c", sets=5)]
    assert any("there are 3 experiments" in line for line in compare(files).left_out)


def test_what_cannot_be_compared(made, tmp_path):
    (first,) = made([1])
    with pytest.raises(PhsError, match="one results file is given"):
        compare([first])
    with pytest.raises(PhsError, match="their targets are 'bowl' and 'hill'"):
        compare([first, *made([1], name="b", target=hill)])
    with pytest.raises(PhsError, match="one maximises, the other minimises"):
        compare([first, *made([1], name="c", maximize=True)])

    def failing(x, y):
        raise ValueError

    failing.__qualname__ = "bowl"
    with pytest.raises(PhsError, match="nothing to compare: no result yet"):
        compare([first, *made([1], name="d", target=failing)])


def test_the_command_prints_a_table_and_draws(made, tmp_path, capsys):
    files = [str(s.path) for s in made([1, 2, 3])]
    assert main(["compare", *files, "--out", str(tmp_path / "out"), "--format", "svg"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split()[:4] == ["file", "seed", "evaluations", "failed"]
    assert printed[1].startswith("a1.h5")
    assert printed[-1] == str(tmp_path / "out" / "a1.convergence.svg")
    assert "median, quartiles" in (tmp_path / "out" / "a1.convergence.svg").read_text()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "one results file is given"),
        (["{same}"], "one results file is given"),
        (["nowhere.h5"], "nowhere.h5 does not exist"),
        (["{other}", "--format", "bmp"], "there is no format 'bmp'"),
        (["{other}", "--out", "/proc/none"], "cannot write figures in /proc/none"),
        (["{text}"], "not an HDF5 file"),
    ],
)
def test_bad_input_is_one_message(made, tmp_path, capsys, more, message):
    first, other = made([1, 2])
    (tmp_path / "text.h5").write_text("no HDF5")
    words = [
        word.format(same=first.path, other=other.path, text=tmp_path / "text.h5") for word in more
    ]
    assert main(["compare", str(first.path), *words]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert message in err
