from __future__ import annotations

from phs_mpi.backends.client import SHORT_IN_A_ROW, Depth


def test_several_at_a_time_only_after_many_short_ones():
    depth = Depth(16, 1e-3)
    found = [depth.after([1e-4], share=100) for _ in range(SHORT_IN_A_ROW)]
    assert found == [1] * (SHORT_IN_A_ROW - 1) + [16]
    assert depth.after([1e-4] * 16, share=100) == 16
    assert depth.after([1e-4] * 10 + [2e-3], share=100) == 1
    assert depth.after([1e-4], share=100) == 1


def test_the_last_sets_go_one_by_one():
    depth = Depth(16, 1e-3)
    assert depth.after([1e-4] * 50, share=32) == 16
    assert depth.after([1e-4] * 16, share=31) == 1
