from __future__ import annotations

from phs_mpi.backends.client import SHORT_IN_A_ROW, Depth


def test_several_at_a_time_only_after_many_short_ones():
    depth = Depth(16, 1e-3)
    assert [depth.after(1e-4) for _ in range(SHORT_IN_A_ROW)] == [1] * (SHORT_IN_A_ROW - 1) + [16]
    assert depth.after(1e-4) == 16
    assert depth.after(2e-3) == 1
    assert depth.after(1e-4) == 1
