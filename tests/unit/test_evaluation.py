"""One call of the target: both styles, judging, capture."""

import ctypes
import datetime
import functools
import json
import math
import os
import resource
import sys
import time

import numpy as np
import pytest

import phs_mpi.evaluation as evaluation
from phs_mpi.capture import OutputLost
from phs_mpi.errors import DefinitionError
from phs_mpi.evaluation import (
    KEYWORDS,
    ONE_ARGUMENT,
    Evaluator,
    current,
    target_style,
)
from phs_mpi.judging import UnusableResult, judge
from phs_mpi.log import Proposal, Source, Status


def call(target, values, tmp_path, **options):
    evaluator = Evaluator(target, list(values), folder=tmp_path / "ev", **options)
    try:
        return evaluator(Proposal(0, values, Source.EXPLICIT))
    finally:
        evaluator.close()


# -- style --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "style"),
    [
        (lambda x, y: 0, KEYWORDS),
        (lambda x, y, z=1: 0, KEYWORDS),
        (lambda **kw: 0, KEYWORDS),
        (lambda parameter: 0, ONE_ARGUMENT),
        (lambda parameter, verbose=False: 0, ONE_ARGUMENT),
    ],
)
def test_style_is_read_off_the_signature(target, style):
    assert target_style(target, ["x", "y"]) == style


@pytest.mark.parametrize(
    ("target", "names", "words"),
    [
        (3, ["x"], "not callable"),
        (lambda x: 0, ["x", "y"], "cannot be called"),
        (lambda x, y, z: 0, ["x", "y"], "missing a required argument: 'z'"),
        (lambda: 0, ["x"], "cannot be called"),
        (lambda a, b: 0, ["x"], "cannot be called"),
    ],
)
def test_a_target_that_cannot_be_called_is_refused(target, names, words):
    with pytest.raises(DefinitionError, match=words):
        target_style(target, names)


# -- one-argument style -------------------------------------------------------------------


def script(parameter):
    exec(parameter["hyperpar"], globals(), globals())
    return x + y  # noqa: F821


def test_one_argument_target_sees_its_names_and_they_do_not_leak(tmp_path):
    outcome = call(script, {"x": 1.5, "y": "x * 2"}, tmp_path, expressions=["y"])
    assert (outcome.status, outcome.result) == (Status.DONE, 4.5)
    assert "x" not in globals()
    assert "y" not in globals()


kept = "before"


def script_that_overwrites(parameter):
    exec(parameter["hyperpar"], globals(), globals())
    globals()["cache"] = 1
    return len(kept)


def test_names_of_the_module_are_restored_and_its_state_is_kept(tmp_path):
    outcome = call(script_that_overwrites, {"kept": "xyz"}, tmp_path)
    assert outcome.result == 3
    assert kept == "before"
    assert globals().pop("cache") == 1


def script_with_walrus(parameter):
    exec(parameter["hyperpar"], globals(), globals())
    return sneaky  # noqa: F821


def test_names_set_inside_an_expression_do_not_leak_either(tmp_path):
    outcome = call(script_with_walrus, {"x": "(sneaky := 7)"}, tmp_path, expressions=["x"])
    assert outcome.result == 7
    assert "sneaky" not in globals()


def saver(parameter):
    path = os.path.join(parameter["worker_save_path"], "model.txt")
    with open(path, "w") as file:
        file.write("saved")
    return parameter["index"]


def test_worker_save_path_is_a_folder_of_the_evaluation(tmp_path):
    assert call(saver, {"x": 1}, tmp_path).result == 0
    assert (tmp_path / "ev" / "000000" / "model.txt").read_text() == "saved"


# -- keyword style ------------------------------------------------------------------------


def test_expressions_are_evaluated_in_order_with_the_modules_names(tmp_path):
    def target(x, y, z):
        return z

    values = {"x": 2.0, "y": "math.sqrt(x) + 1", "z": "sum(x * i for i in range(3)) + y"}
    outcome = call(target, values, tmp_path, expressions=["y", "z"])
    assert outcome.result == pytest.approx(6 + math.sqrt(2) + 1)


def test_a_failing_expression_is_named(tmp_path):
    outcome = call(lambda x, y: 0, {"x": 0, "y": "1 / x"}, tmp_path, expressions=["y"])
    assert outcome.status == Status.FAILED
    assert outcome.error == "the expr y = 1 / x raised ZeroDivisionError: division by zero"


def test_current_tells_index_folder_and_seed(tmp_path):
    seen = {}

    def target(x):
        here = current()
        seen.update(index=here.index, seed=here.seed, values=here.values)
        (here.folder / "a.txt").write_text("a")
        return 1.0

    call(target, {"x": 1}, tmp_path, seed=3)
    first = seen["seed"]
    call(target, {"x": 1}, tmp_path, seed=4)
    assert seen["index"] == 0
    assert seen["values"] == {"x": 1}
    assert first != seen["seed"]
    assert (tmp_path / "ev" / "000000" / "a.txt").exists()
    with pytest.raises(RuntimeError, match="no evaluation is running"):
        current()


def test_a_partial_and_a_method_are_targets(tmp_path):
    class Model:
        def loss(self, x):
            return x

        def __call__(self, x):
            return -x

    assert call(functools.partial(lambda a, x: a + x, 1), {"x": 2}, tmp_path).result == 3
    assert call(Model().loss, {"x": 2}, tmp_path).result == 2
    assert call(Model(), {"x": "1 + 1"}, tmp_path, expressions=["x"]).result == -2


# -- judging ------------------------------------------------------------------------------


class Tensor:
    shape = ()

    def item(self):
        return 2.5


@pytest.mark.parametrize(
    ("returned", "result"),
    [(1, 1.0), (2.5, 2.5), (np.float32(0.5), 0.5), (np.array(3.0), 3.0), (Tensor(), 2.5)],
)
def test_numbers_are_results(returned, result):
    assert judge(returned) == (result, {})


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (None, "the target's result is None"),
        (math.nan, "returned nan"),
        (math.inf, "returned inf"),
        ("0.5", r"a str \('0.5'\)"),
        (True, r"a bool \(True\)"),
        (np.array([1.0]), r"a ndarray of shape \(1,\)"),
        ([1.0], "a list"),
        (1j, "a complex"),
        ({"loss": 1.0}, "without 'result' .it has 'loss'"),
        ({"result": None}, "is None"),
        ({"result": 1.0, "accuracy": "high"}, "metric 'accuracy' is a str"),
        (datetime.timedelta(1), "a timedelta"),
    ],
)
def test_anything_else_is_not(returned, words):
    with pytest.raises(UnusableResult, match=words):
        judge(returned)


def test_metrics_come_with_the_result():
    assert judge({"result": 1, "a": 2, "b": math.nan})[1]["a"] == 2.0
    with pytest.raises(UnusableResult, match="no metric 'a'"):
        judge({"result": 1}, ["a"])
    with pytest.raises(UnusableResult, match="no metrics"):
        judge(1.0, ["a"])


def test_metrics_that_no_row_has_room_for_are_kept_in_the_folder(tmp_path):
    many = {f"metric_{k}": float(k) for k in range(40)}
    call(lambda x: {"result": 1.0, "few": 2.0}, {"x": 1}, tmp_path)
    assert not (tmp_path / "ev").exists()
    outcome = call(lambda x: {"result": 1.0, **many}, {"x": 1}, tmp_path)
    assert outcome.metrics == many
    assert json.loads((tmp_path / "ev" / "000000" / "metrics.json").read_text()) == many


# -- failures -----------------------------------------------------------------------------


def test_an_exception_is_a_failure_with_reason_and_traceback(tmp_path):
    def target(x):
        raise ValueError("too\nbad")

    outcome = call(target, {"x": 1}, tmp_path)
    assert outcome.status == Status.FAILED
    assert outcome.error == "ValueError: too bad"
    assert 'raise ValueError("too\\nbad")' in outcome.traceback
    assert "phs_mpi/evaluation.py" not in outcome.traceback
    assert math.isnan(outcome.result)


@pytest.mark.parametrize("code", [0, 3, None, "bye"])
def test_sys_exit_is_a_failure(tmp_path, code):
    outcome = call(lambda x: sys.exit(code), {"x": 1}, tmp_path)
    assert outcome.status == Status.FAILED
    assert "sys.exit" in outcome.error


def test_an_interrupt_is_not_a_failure_but_passes(tmp_path):
    def target(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call(target, {"x": 1}, tmp_path)


def test_start_and_end_enclose_the_call(tmp_path):
    before = time.time()
    outcome = call(lambda x: time.sleep(0.05) or 1.0, {"x": 1}, tmp_path)
    assert before <= outcome.start
    assert outcome.end - outcome.start > 0.04


# -- capture ------------------------------------------------------------------------------


def talkative(x):
    print("from python")
    print("to stderr", file=sys.stderr)
    ctypes.CDLL(None).puts(b"from C")
    os.system("echo from a child")
    return 1.0


def test_output_of_python_c_and_children_goes_to_the_folder(tmp_path, capfd):
    outcome = call(talkative, {"x": 1}, tmp_path)
    folder = tmp_path / "ev" / "000000"
    assert outcome.status == Status.DONE
    assert set((folder / "stdout.txt").read_text().split("\n")) == {
        "from python", "from C", "from a child", "",
    }  # fmt: skip
    assert (folder / "stderr.txt").read_text() == "to stderr\n"
    assert capfd.readouterr() == ("", "")


def test_without_capture_output_passes_through(tmp_path, capfd):
    call(talkative, {"x": 1}, tmp_path, capture=False)
    ctypes.CDLL(None).fflush(None)  # C keeps text for a file back until its buffer is full
    assert "from C" in capfd.readouterr().out
    assert not (tmp_path / "ev").exists()


def test_a_silent_target_leaves_no_files(tmp_path):
    call(lambda x: 1.0, {"x": 1}, tmp_path)
    assert not (tmp_path / "ev").exists()


def test_each_evaluation_has_its_own_output(tmp_path):
    evaluator = Evaluator(lambda x: print(x) or 1.0, ["x"], folder=tmp_path / "ev")
    for index in range(3):
        evaluator(Proposal(index, {"x": f"text {index}"}, Source.EXPLICIT))
    evaluator.close()
    for index in range(3):
        path = tmp_path / "ev" / f"{index:06d}" / "stdout.txt"
        assert path.read_text() == f"text {index}\n"


def test_printing_too_much_is_a_failure_and_bounded_on_disk(tmp_path):
    def target(x):
        for _ in range(3000):
            sys.stdout.write("x" * 9999 + "\n")
        return 1.0

    outcome = call(target, {"x": 1}, tmp_path, output_limit=1 << 20)
    assert outcome.status == Status.FAILED
    assert math.isnan(outcome.result)
    assert outcome.error.startswith("printed more than 1,048,576 bytes")
    assert (tmp_path / "ev" / "000000" / "stdout.txt").stat().st_size <= 1 << 20


@pytest.fixture
def small_files():
    """The system lets no file grow beyond 64 kB, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_result_counts_though_there_is_no_room_for_what_was_printed(tmp_path, small_files):
    def target(x):
        print("y" * 1_000_000)
        return {"result": 1.0, **{"metric" + "m" * 500 + str(k): 0.5 for k in range(200)}}

    outcome = call(target, {"x": 1}, tmp_path)
    assert outcome.status == Status.DONE
    assert outcome.result == 1.0
    assert outcome.error == "its metrics are not all kept: File too large"
    assert (tmp_path / "ev" / "000000" / "stdout.txt").stat().st_size == 1 << 16
    outcome = call(lambda x: print("y" * 1_000_000) or 2.0, {"x": 1}, tmp_path)
    assert outcome.result == 2.0
    assert outcome.error == "what it printed is not all kept: File too large"


def test_nowhere_to_keep_output_is_told_before_the_target_is_called(tmp_path):
    called = []
    (tmp_path / "ev").touch()  # no folder
    with pytest.raises(OutputLost, match=r"cannot be kept in .*/ev: File exists; make room"):
        call(called.append, {"x": 1}, tmp_path)
    assert not called
    (tmp_path / "ev").unlink()
    assert call(lambda x: 1.0, {"x": 1}, tmp_path).status == Status.DONE


def test_a_folder_that_cannot_be_made_costs_the_output_only(tmp_path):
    evaluator = Evaluator(lambda x: print(x) or 1.0, ["x"], folder=tmp_path / "ev")
    evaluator(Proposal(0, {"x": 0}, Source.EXPLICIT))
    (tmp_path / "ev" / "000001").touch()
    outcome = evaluator(Proposal(1, {"x": 1}, Source.EXPLICIT))
    assert (outcome.status, outcome.result) == (Status.DONE, 1.0)
    assert outcome.error == "what it printed is not all kept: File exists"
    assert evaluator(Proposal(2, {"x": 2}, Source.EXPLICIT)).error == ""
    assert (tmp_path / "ev" / "000002" / "stdout.txt").read_text() == "2\n"
    evaluator.close()


def test_a_target_that_closes_stdout_harms_only_itself(tmp_path):
    def target(x):
        if x == 0:
            sys.stdout.close()
        print("still here")
        return 1.0

    evaluator = Evaluator(target, ["x"], folder=tmp_path / "ev")
    first = evaluator(Proposal(0, {"x": 0}, Source.EXPLICIT))
    second = evaluator(Proposal(1, {"x": 1}, Source.EXPLICIT))
    evaluator.close()
    assert first.status == Status.FAILED
    assert second.status == Status.DONE
    assert (tmp_path / "ev" / "000001" / "stdout.txt").read_text() == "still here\n"


def test_nothing_of_an_evaluation_stays_behind():
    assert evaluation._current.get() is None
