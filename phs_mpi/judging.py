"""How a call of the target has ended: with a result, or with which failure."""

from __future__ import annotations

import math
import numbers
import re
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .log import Cause, Outcome

#: How PyTorch, JAX, CuPy, Numba and the libraries below them name an error of the GPU. After most
#: of them (an assertion, a bad address) the process that met it can do nothing there any more.
GPU_ERROR = re.compile(
    r"(?<![a-z])(cuda|hip|cu(dnn|blas|fft|solver|sparse|rand)|miopen|rocblas)[ _]?(error|status)",
    re.IGNORECASE,
)


class UnusableResult(ValueError):
    """The target returned something that is no result."""


class ExpressionFailed(Exception):
    """The expression of an ``expr`` parameter raised."""


def judge(returned: Any, metric_names: Sequence[str] = ()) -> tuple[float, dict[str, float]]:
    """Turn what the target returned into a result and metrics.

    Returns
    -------
    result : float
        Finite.
    metrics : dict of str to float

    Raises
    ------
    UnusableResult
        With the reason, if it is not a finite number, or a dict with one as ``"result"``.
    """
    metrics: dict[str, float] = {}
    if isinstance(returned, Mapping):
        if "result" not in returned:
            keys = ", ".join(map(repr, returned)) or "nothing"
            raise UnusableResult(f"the target returned a dict without 'result' (it has {keys})")
        for name, value in returned.items():
            if name != "result":
                metrics[str(name)] = _number(value, f"metric {name!r}")
        missing = [name for name in metric_names if name not in metrics]
        if missing:
            raise UnusableResult(f"the target returned no metric {', '.join(map(repr, missing))}")
        returned = returned["result"]
    elif metric_names:
        raise UnusableResult(
            "the target returned no metrics; return a dict with 'result' and "
            + ", ".join(map(repr, metric_names))
        )
    result = _number(returned, "the target's result")
    if not math.isfinite(result):
        raise UnusableResult(f"the target returned {result}")
    return result, metrics


def _number(value: Any, what: str) -> float:
    if isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_):
        return float(value)
    shape = getattr(value, "shape", None)
    if shape == () and hasattr(value, "item"):  # a 0-dimensional array or tensor
        item = value.item()
        if isinstance(item, numbers.Real) and not isinstance(item, bool):
            return float(item)
    described = "None" if value is None else f"a {type(value).__name__}"
    if shape:
        described += f" of shape {tuple(shape)}"
    elif isinstance(value, str | bool):
        described += f" ({value!r:.40})"
    raise UnusableResult(f"{what} is {described}, not a number")


def cause_of(error: BaseException) -> Cause:
    """What kind of failure it is that the target raised this."""
    if isinstance(error, SystemExit):
        return Cause.EXIT
    # PyTorch and CuPy have an error of this name for the memory of a GPU.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return Cause.MEMORY
    return Cause.RESULT if isinstance(error, UnusableResult) else Cause.EXCEPTION


def reason_of(error: BaseException) -> str:
    """The failure in one line."""
    if isinstance(error, SystemExit):
        return f"the target called sys.exit({'' if error.code is None else repr(error.code)})"
    if isinstance(error, UnusableResult | ExpressionFailed):
        return " ".join(str(error).split())
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def traceback_of(error: BaseException, caller: str) -> str:
    """The traceback without the frames of the file that called the target."""
    begin = error.__traceback__
    while begin is not None and begin.tb_frame.f_code.co_filename == caller:
        begin = begin.tb_next
    return "".join(traceback.format_exception(type(error), error, begin))


def may_have_lost_its_gpu(outcome: Outcome) -> bool:
    """Whether the process of this evaluation may not be able to use its GPU again."""
    return outcome.cause == Cause.EXCEPTION and bool(GPU_ERROR.search(outcome.error))
