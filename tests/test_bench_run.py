"""The benches behind run.py: each works, and says what it should; no figure is judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parent.parent / "scripts" / "bench"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))


@pytest.fixture
def measured(launch):
    """Runs benches at their smallest; returns what stands in the JSON file, and what is printed."""

    def run(*names):
        done = launch(
            None, str(BENCH / "run.py"), *names, "--quick", "--json", "found.json", timeout=240
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads((launch.folder / "found.json").read_text()), done.stdout

    return run


def check(found, name):
    """Tables are whole, and the machine is on record."""
    bench = found["benches"][name]
    for table in bench["tables"]:
        assert table["rows"], table["title"]
        assert {len(row) for row in table["rows"]} == {len(table["columns"])}, table["title"]
    machine = bench["machine"]
    assert 0 <= machine["idle"] <= 1
    assert 0 <= machine["others"] <= 1
    assert machine["seconds"] > 0
    return bench


def test_an_unknown_bench_is_named(launch):
    done = launch(None, str(BENCH / "run.py"), "overheat")
    assert done.returncode == 2
    assert "no bench overheat: choose of startup, overhead" in done.stderr
    done = launch(None, str(BENCH / "run.py"), "--list")
    assert "soak" in done.stdout


def test_a_goal_is_met_or_not(bench):
    from harness import Goal, Table

    assert Goal("a", 0.25, 0.3).met
    assert not Goal("a", 1.3, 1.4, at_most=True).met
    assert Goal("share", 0.985, 0.9).markdown() == "- share: 0.9, goal ≥ 0.985: **not met**"
    table = Table("t", ["a", "b"], [[12345, 0.12345], ["x", 54321.0]])
    assert table.markdown().splitlines()[-2:] == ["| 12,345 | 0.123 |", "| x | 54,321 |"]


def test_the_ceiling_is_that_of_handing_out_in_order(bench):
    from durations import SIGMA, duration, ideal
    from efficiency import Case

    assert ideal([3, 1, 1, 1], 2) == 3
    assert ideal([1, 1, 1, 3], 2) == 4
    lengths = [duration(index, 2.0) for index in range(20_000)]
    assert sum(lengths) / len(lengths) == pytest.approx(2.0, rel=5 * SIGMA / 20_000**0.5)
    case = Case(7, 100, 0.5)
    assert 0.5 < case.ceiling() <= 1
    assert case.efficiency(ideal(case.durations(), 7)) == case.ceiling()


def test_every_evaluation_is_accounted_for(measured):
    found, printed = measured("soak")
    assert found["quick"]
    assert found["surroundings"]["packages"]["numpy"]
    soak = check(found, "soak")
    counts = dict(soak["tables"][0]["rows"])
    assert counts["done"] + counts["failed, as one in twenty should"] == 60
    assert counts["left"] == counts["never called"] == 0
    assert soak["goals"][0]["met"]
    assert "**MiB that a rank has to itself" in printed
    assert "of the cores" in printed


@pytest.mark.slow
def test_a_filled_file_is_one_that_a_run_could_have_left(bench, tmp_path):
    import store

    from phs_mpi.store import read

    experiment = store.experiment_of(500)
    store.fill(tmp_path / "a.h5", experiment, left=7)
    snapshot = read(tmp_path / "a.h5", verify=True)
    assert snapshot.done.sum() == 493
    assert not len(snapshot.torn)
    assert not snapshot.complete
    resumed = store.prepare(
        tmp_path / "a.h5", experiment.table(), experiment.describe(), "", {"command": ""}
    )
    assert resumed.missing == list(range(493, 500))
    assert len(resumed.replay) == 2 * 493


@pytest.mark.slow
def test_the_other_benches_work(measured):
    names = ["startup", "overhead", "efficiency", "exchange", "store", "memory", "simulate", "dask"]
    found, printed = measured(*names)
    for name in names:
        check(found, name)
    heavy = [g for g in found["benches"]["startup"]["goals"] if g["what"].startswith("heavy")]
    assert len(heavy) == 3
    assert all(goal["met"] for goal in heavy)
    rows = {row[0]: row for row in found["benches"]["overhead"]["tables"][1]["rows"]}
    assert {"mpi4py.futures", "phs_mpi, store on", "phs_mpi, store off"} <= set(rows)
    # Three ranks: a result is ordered with its start, so that no result needs two broadcasts.
    exchange = found["benches"]["exchange"]["tables"][0]["rows"][0]
    assert 2 < exchange[6] <= 2 + 2 * 2 + 1
    store = found["benches"]["store"]["tables"]
    assert [row[0] for row in store[0]["rows"]] == [1, 2]
    assert store[1]["rows"][0][0] == 1000
    memory = found["benches"]["memory"]["tables"]
    assert [row[0] for row in memory[0]["rows"]] == [200]
    assert "left out: schwimmbad" in printed or "schwimmbad" in rows


@pytest.mark.slow
def test_each_backend_stands_beside_its_executor(measured):
    found, printed = measured("executors")
    executors = check(found, "executors")
    backends = [table["title"].split(",")[0] for table in executors["tables"]]
    assert [b for b in backends if b != "dask"] == ["processes", "mpi"]
    assert "dask" in backends or "left out: dask" in printed
    for backend, table in zip(backends, executors["tables"], strict=True):
        names = ["bare, self-scheduled", "bare, all at once"]
        assert [row[0] for row in table["rows"]] == [
            *names,
            "phs_mpi, store on",
            "phs_mpi, store off",
        ]
        for name, microseconds, _, of_one, of_all in table["rows"]:
            assert microseconds == pytest.approx(1e6 * executors["figures"][f"{backend}, {name}"])
            assert min(microseconds, of_one, of_all) > 0
        assert table["rows"][0][3] == table["rows"][1][4] == 1


@pytest.mark.slow
def test_profiles_say_which_part_takes_the_time(measured):
    found, _ = measured("profiles")
    rank_0, worker, imports, search, row = check(found, "profiles")["tables"]
    for table in (rank_0, worker, row):
        *parts, together, without = table["rows"]
        for case in (1, 3):
            assert sum(cells[case] for cells in parts) == pytest.approx(together[case])
            assert without[case] > 0
    # What rank 0 does not do, and what takes a worker no time without a results file.
    names = {cells[0]: cells for cells in rank_0["rows"]}
    assert "what the target prints" not in names
    assert {"which set is next", "broadcasts and the log", "looking for messages"} <= set(names)
    writing = next(cells for cells in worker["rows"] if cells[0] == "the row")
    assert writing[1] < 0.1 * writing[3]
    modules = {cells[0]: cells[1::2] for cells in imports["rows"]}
    assert modules["scipy"][0] == 0 < modules["scipy"][1]
    assert min(modules["phs_mpi"]) > 20
    for name, proposals, rounds, *_ in search["rows"]:
        assert proposals > 0, name
        assert rounds >= 1, name


def test_a_profile_is_put_together_into_parts(bench):
    import profiled
    from profile_parts import PARTS, by_part, part_of
    from profiles import modules

    def inner():
        return sum(range(2000))

    def outer():
        return [inner() for _ in range(50)]

    profile = profiled.new_profile()
    profile.runcall(outer)
    found = {f[1]: f for f in profiled.functions(profile, (0.0, 0.0))}
    assert found["inner"][2] == 50
    assert 0 < found["inner"][3] <= found["outer"][4]
    # What the profiler takes is left out of the function that is called, and of its caller.
    less = {f[1]: f for f in profiled.functions(profile, (1e-7, 0.0))}
    assert less["inner"][3] == pytest.approx(found["inner"][3] - 50e-7)
    assert all(f[3] == 0 for f in profiled.functions(profile, (1.0, 1.0)) if f[1] != "outer")
    told = [
        {"functions": [["a/phs_mpi/schedule.py", "handle", 3, 0.5, 0.7], ["b.py", "c", 1, 2, 2]]}
    ]
    parts = by_part([*told, *told], PARTS)
    assert parts.pop("which set is next") == 1
    assert parts.pop("other") == 4
    assert set(parts.values()) == {0.0}
    assert part_of("phs_mpi/backends/mpi/messages.py", "decode_header", PARTS) != part_of(
        "phs_mpi/backends/mpi/messages.py", "message", PARTS
    )
    lines = "import time:  1500 |  1500 |   json\nimport time: 20 | 30 | phs_mpi.log\n"
    assert modules(lines + "phs_mpi: done")["standard library"] == (1, 1.5)
    assert modules(lines)["phs_mpi"] == (1, 0.02)


def test_parts_are_of_files_that_are_there(bench):
    import re
    import sysconfig

    from profile_parts import PARTS, ROW_PARTS

    import phs_mpi

    folders = [Path(phs_mpi.__file__).parent, Path(sysconfig.get_path("stdlib"))]
    for pattern in (*PARTS.values(), *ROW_PARTS.values()):
        for name in re.findall(r"(\w+)\\\.py", pattern):
            files = [*folders[0].rglob(f"{name}.py"), *folders[1].glob(f"{name}.py")]
            assert files or name == "noop", name


def test_a_simulation_is_a_run_of_the_real_schedule(bench):
    import numpy as np
    from simulation import Simulation
    from simulation_setting import Costs, Setting

    for algorithm in ("linear", "binomial", "nodes"):
        setting = Setting(40, 400, 1.0, searched=0.5, algorithm=algorithm, node=16)
        run = Simulation(setting, Costs())
        found = run.run()
        run.schedule.check()
        assert run.schedule.complete
        assert len(run.log) == 800
        assert run.schedule.waiting_entries == 0
        # Every evaluation is as long as it was drawn, and no worker has two at once.
        assert np.all(run.end >= run.begin + run.lengths * (1 - 1e-9))
        assert 0.95 < found.utilisation <= 1
        assert found.stale == 0
        assert 0 < found.delay < found.last < found.worst
        assert 0 < found.busy < 1
    # It is a function of its seed.
    assert Simulation(setting, Costs()).run() == found


def test_a_simulated_rank_0_that_is_slow_keeps_workers_waiting(bench):
    import dataclasses

    from simulation import Simulation
    from simulation_setting import Costs, Setting

    setting = Setting(100, 1000, 1.0)
    # 100 results a second, 20 ms each: half of what there is.
    slow = dataclasses.replace(Costs(), serve=0.02)
    found = Simulation(setting, slow).run()
    assert 0.4 < found.utilisation < 0.6
    assert found.busy > 0.9
