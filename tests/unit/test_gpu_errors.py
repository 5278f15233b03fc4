"""Which failures make an isolated evaluation's process unfit for the next one."""

from __future__ import annotations

import pytest

from phs_mpi.judging import may_have_lost_its_gpu
from phs_mpi.log import Cause, Outcome, Status


def failed(error: str, cause: Cause = Cause.EXCEPTION) -> Outcome:
    outcome = Outcome(0, Status.FAILED, error=error)
    outcome.cause = cause
    return outcome


@pytest.mark.parametrize(
    "error",
    [
        "AcceleratorError: CUDA error: device-side assert triggered",
        "RuntimeError: CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(…)`",
        "RuntimeError: cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
        "RuntimeError: HIP error: the operation cannot be performed in the present state",
        "CUDARuntimeError: cudaErrorIllegalAddress: an illegal memory access was encountered",
        "CudaAPIError: [700] Call to cuMemcpyDtoH results in CUDA_ERROR_ILLEGAL_ADDRESS",
        "XlaRuntimeError: INTERNAL: CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure",
        "JaxRuntimeError: INTERNAL: hipErrorIllegalAddress",
    ],
)
def test_errors_of_a_gpu(error):
    assert may_have_lost_its_gpu(failed(error))


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", Cause.MEMORY),
        ("ZeroDivisionError: division by zero", Cause.EXCEPTION),
        ("ValueError: the relationship error is 3", Cause.EXCEPTION),
        ("returned CUDA error: 1, which is no number", Cause.RESULT),
    ],
)
def test_others(error, cause):
    assert not may_have_lost_its_gpu(failed(error, cause))
