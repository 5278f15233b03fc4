"""From table and log to proposals."""

import math

import numpy as np
import pytest

from phs_mpi.experiment import Experiment
from phs_mpi.log import EntryKind, Log, LogEntry, LogReader, Source
from phs_mpi.parameters import expr
from phs_mpi.search import Engine
from phs_mpi.search.history import TableProposer, search_space
from phs_mpi.strategies import Bayesian, Choice, Grid, Random

S, C = EntryKind.STARTED, EntryKind.COMPLETED


def target(x, y):
    return 0.0


def bowl(values):
    return (values["x"] - 1) ** 2 + (values["y"] + 2) ** 2


@pytest.fixture
def experiment():
    made = Experiment(target, {"x": float, "y": float}, seed=3)
    made.add(10, x=Random(-5, 5), y=Random(-5, 5))
    made.add(20, x=Bayesian(-5, 5), y=Bayesian(-5, 5))
    return made


def drawn_log(table, count):
    log = Log(LogEntry(S, i) for i in range(count))
    for i in range(count):
        log.append(LogEntry(C, i, result=bowl(table.defined(i))))
    return log


def read(log, length=None):
    reader = LogReader(log)
    reader.advance(len(log) if length is None else length)
    return reader


def test_simultaneous_askers_with_one_log_get_different_points(experiment):
    table = experiment.table()
    log = drawn_log(table, 10)
    proposals = [TableProposer(experiment, table).propose(i, read(log)) for i in range(10, 15)]
    points = [(p.values["x"], p.values["y"]) for p in proposals]
    for k, a in enumerate(points):
        for b in points[:k]:
            assert math.dist(a, b) > 1e-3
    # And the guess about the others was right: a worker that knows their values agrees.
    for proposal in proposals[:3]:
        log.append(LogEntry(S, proposal.index, row=table.pack(proposal.index, proposal.values)))
    told = TableProposer(experiment, table).propose(13, read(log))
    assert told.values == proposals[3].values


def test_a_worker_that_has_seen_less_is_not_guessed_about(experiment):
    """Sets 10 to 12 were handed out before set 13 and are silent; whose worker sees our log?"""
    table = experiment.table()
    proposer = TableProposer(experiment, table)
    log = drawn_log(table, 8)
    assert proposer.explain(13, read(log), 0).simultaneous == [10, 11, 12]
    # Once set 14 is announced, whoever was handed a set before that has seen a shorter log.
    values = TableProposer(experiment, table).propose(14, read(log)).values
    log.append(LogEntry(S, 14, row=table.pack(14, values)))
    assert proposer.explain(13, read(log), 0).simultaneous == []
    # Two evaluations finish, for which sets 12 and 13 are handed out.
    log.append(LogEntry(S, 8))
    for i in (8, 14):
        log.append(LogEntry(C, i, result=1.0))
    assert proposer.explain(13, read(log), 0).simultaneous == [12]


def test_in_a_finite_space_all_that_others_propose_is_worked_out():
    experiment = Experiment(lambda n: 0.0, {"n": int}, seed=1)
    experiment.add(9, n=Bayesian(1, 9))
    table = experiment.table()
    log = Log()
    for i, n in enumerate([4, 6, 2]):
        log.append(LogEntry(S, i, row=table.pack(i, {"n": n})))
        log.append(LogEntry(C, i, result=float(n)))
    log.append(LogEntry(S, 3, row=table.pack(3, {"n": 1})))
    proposals = [TableProposer(experiment, table).propose(i, read(log)) for i in range(4, 9)]
    assert {p.values["n"] for p in proposals} == {3, 5, 7, 8, 9}


def test_a_proposal_depends_on_the_prefix_alone(experiment):
    table = experiment.table()
    log = drawn_log(table, 10)
    used = TableProposer(experiment, table)
    early = used.propose(12, read(log, 14))
    used.propose(15, read(log))
    again = TableProposer(experiment, table).propose(12, read(log, 14))
    assert early == again


@pytest.mark.parametrize("methods", [{"acquisition": "ts"}, {"surrogate": "extra_trees"}])
def test_the_methods_are_those_of_the_experiment(experiment, methods):
    chosen = Experiment(target, {"x": float, "y": float}, seed=3, **methods)
    chosen.groups = experiment.groups
    table = chosen.table()
    log = drawn_log(table, 10)
    usual = TableProposer(experiment, table).propose(10, read(log)).values
    values = TableProposer(chosen, table).propose(10, read(log)).values
    assert values != usual
    engine = Engine(search_space(chosen, table, 1), seed=3, **methods)
    rows = [table.defined(i) for i in range(10)]
    direct = engine.propose(index=10, evaluated=rows, results=np.array([bowl(r) for r in rows]))
    assert values == direct.values


def test_wait_for_all_uses_lower_sets_only_and_in_their_order():
    experiment = Experiment(target, {"x": float, "y": float}, seed=3, wait_for_all=True)
    experiment.add(6, x=Random(-5, 5), y=Random(-5, 5))
    experiment.add(2, x=Bayesian(-5, 5), y=Bayesian(-5, 5))
    experiment.add(6, x=Random(-5, 5), y=Random(-5, 5))
    table = experiment.table()

    def log(order):
        return Log(LogEntry(C, i, result=bowl(table.defined(i))) for i in order)

    one = TableProposer(experiment, table).propose(6, read(log([0, 1, 2, 3, 4, 5])))
    other = TableProposer(experiment, table).propose(6, read(log([5, 9, 3, 1, 12, 0, 2, 4])))
    assert one.values == other.values


def test_values_have_the_parameters_types():
    import numpy as np

    experiment = Experiment(
        lambda **v: 0.0,
        {"x": np.float32, "n": int, "flag": bool, "kind": ["a", "b"], "e": expr},
        seed=1,
    )
    experiment.add(8, x=Random(0, 1), n=Random(1, 9), flag=Choice([True, False]), kind="a", e="1")
    experiment.add(
        4, x=Bayesian(0, 1), n=Bayesian(1, 9), flag=Bayesian(), kind=Bayesian(["a", "b"]), e="n"
    )
    table = experiment.table()
    log = Log(LogEntry(C, i, result=float(i)) for i in range(8))
    proposal = TableProposer(experiment, table).propose(8, read(log))
    assert proposal.source == Source.BAYESIAN
    assert list(proposal.values) == ["x", "n", "flag", "kind", "e"]
    assert [type(v) for v in proposal.values.values()] == [np.float32, int, bool, str, str]
    assert table.unpack(table.pack(8, proposal.values)) == proposal.values


def test_given_parameters_inform_the_model_where_they_vary():
    experiment = Experiment(
        lambda **v: 0.0, {"x": float, "size": int, "same": float, "kind": str, "e": expr}
    )
    shared = dict(same=1.0, e="x")
    experiment.add(size=Grid([1, 2, 4]), kind=Grid(["a", "b"]), x=0.5, **shared)
    experiment.add(3, x=Bayesian(0, 1), size=8, kind="c", **shared)
    space = search_space(experiment, experiment.table(), 1)
    assert [(d.name, d.free) for d in space.dimensions] == [
        ("x", True),
        ("size", False),
        ("kind", False),
    ]
    size, kind = space.dimensions[1:]
    assert (size.low, size.high) == (1, 8)
    assert kind.categories == ("a", "b", "c")
    assert search_space(experiment, experiment.table(), 0) is None


def test_an_exhausted_space_is_said_and_not_proposed_again():
    experiment = Experiment(lambda n: 0.0, {"n": int})
    experiment.add(4, n=Bayesian(1, 3))
    table = experiment.table()
    log = Log()
    for i, n in enumerate([1, 2, 3]):
        log.append(LogEntry(S, i, row=table.pack(i, {"n": n})))
        log.append(LogEntry(C, i, result=float(n)))
    proposal = TableProposer(experiment, table).propose(3, read(log))
    assert proposal.refused.startswith("not evaluated: all 3 combinations")
