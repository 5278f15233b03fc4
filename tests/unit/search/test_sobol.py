import numpy as np
import pytest
from scipy.stats import qmc

from phs_mpi.search import sobol


def test_direction_numbers_are_those_of_scipy():
    number = np.arange(64, dtype=np.uint64)
    points = np.zeros((64, 40), dtype=np.uint64)
    for bit in range(6):
        points[(number >> np.uint64(bit) & np.uint64(1)) == 1] ^= sobol.direction_numbers()[:, bit]
    gray = number ^ (number >> np.uint64(1))  # scipy counts in Gray code
    assert np.array_equal(points[gray] / 2.0**32, qmc.Sobol(40, scramble=False).random(64))


@pytest.mark.parametrize("dimensions", [1, 2, 6, 40, 100])
def test_every_block_of_points_fills_all_strata(dimensions):
    points = sobol.points(np.arange(64, 128), dimensions, seed=3)
    assert points.shape == (64, dimensions)
    assert ((points > 0) & (points < 1)).all()
    for column in points.T:
        assert sorted((column * 64).astype(int)) == list(range(64))


def test_scrambling_keeps_the_low_discrepancy():
    chance = np.mean([qmc.discrepancy(np.random.default_rng(k).random((64, 4))) for k in range(20)])
    for seed in range(20):
        assert qmc.discrepancy(sobol.points(np.arange(64), 4, seed)) < 0.3 * chance


def test_copies_of_dimensions_beyond_the_table_are_unrelated():
    points = sobol.points(np.arange(1024), 90, seed=1)
    correlation = np.corrcoef(points.T) - np.eye(90)
    assert abs(correlation).max() < 0.2


def test_a_point_is_a_function_of_seed_and_index():
    block = sobol.points(np.arange(10), 50, seed=7)
    for k in range(10):
        assert sobol.points(np.array([k]), 50, seed=7).tobytes() == block[k].tobytes()
    assert not np.array_equal(block, sobol.points(np.arange(10), 50, seed=8))


@pytest.mark.parametrize("seed", [-1, 0, 2**63, 2**200 + 1])
def test_any_integer_is_a_seed(seed):
    assert sobol.points(np.array([0]), 3, seed).shape == (1, 3)
