from __future__ import annotations

from phs_mpi.depth import SHORT_IN_A_ROW, Depth, Level


def test_several_at_a_time_only_after_many_short_ones():
    depth = Depth(Level(16, 1e-3))
    found = [depth.after([1e-4], share=100) for _ in range(SHORT_IN_A_ROW)]
    assert found == [1] * (SHORT_IN_A_ROW - 1) + [16]
    assert depth.after([1e-4] * 16, share=100) == 16
    assert depth.after([1e-4] * 10 + [2e-3], share=100) == 1
    assert depth.after([1e-4], share=100) == 1


def test_the_last_sets_go_one_by_one():
    depth = Depth(Level(16, 1e-3))
    assert depth.after([1e-4] * 50, share=32) == 16
    assert depth.after([1e-4] * 16, share=31) == 1


def test_of_several_levels_the_deepest_that_holds():
    depth = Depth(Level(16, 1e-3), Level(2, 1.0, 4))
    assert [depth.after([0.5], share=100) for _ in range(4)] == [1, 1, 1, 2]
    assert depth.after([1e-4] * SHORT_IN_A_ROW, share=100) == 16
    assert depth.after([1e-4], share=31) == 2
    assert depth.after([1e-4], share=3) == 1
    assert depth.after([0.5], share=100) == 2
    assert depth.after([float("inf")], share=100) == 1
