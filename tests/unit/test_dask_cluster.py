from __future__ import annotations

import pytest

pytest.importorskip("distributed")

from phs_mpi.backends.dask_cluster import mismatch

HERE = {"python": "3.11.7.final.0", "distributed": "2026.8.0", "numpy": "2.1.3"}


@pytest.mark.parametrize(
    ("there", "problem"),
    [
        ({}, ""),
        ({"python": "3.11.9.final.0", "numpy": "2.4"}, ""),
        ({"python": "3.12.1.final.0"}, "it has python 3.12.1.final.0, and here is 3.11.7.final.0"),
        ({"distributed": "2026.8.1"}, "it has distributed 2026.8.1, and here is 2026.8.0"),
        ({"distributed": None}, "it has no distributed"),
        ({"numpy": "1.26.4"}, "it has numpy 1.26.4, and here is 2.1.3"),
    ],
)
def test_mismatch(there, problem):
    assert mismatch(HERE, HERE | there, ("python", 2), "distributed", ("numpy", 1)) == problem
