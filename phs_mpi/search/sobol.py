"""Scrambled Sobol points by number, without importing scipy.

A worker with no result to go by must start at once, and scipy.stats costs it half a second (a
minute with 64 processes on two cores), hence these few lines. Point number `index` is a function
of (seed, index) alone, so that any worker can compute any point.

References
----------
Joe and Kuo 2008, SIAM J. Sci. Comput. 30, 2635: direction numbers, file new-joe-kuo-6.21201.
Owen 1998, J. Complexity 14, 466: nested uniform scrambling.
Burley 2020, J. Comput. Graph. Tech. 9(4): scrambling by hashing; shuffled copies beyond the table.
"""

from __future__ import annotations

from functools import cache

import numpy as np

BITS = 32
#: Increment of SplitMix64.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)

#: Primitive polynomial and initial direction numbers of dimensions 2 to 40.
JOE_KUO = """
    3:1 7:1,3 11:1,3,1 13:1,1,1 19:1,1,3,3 25:1,3,5,13 37:1,1,5,5,17 41:1,1,5,5,5 47:1,1,7,11,19
    55:1,1,5,1,1 59:1,1,1,3,11 61:1,3,5,5,31 67:1,3,3,9,7,49 91:1,1,1,15,21,21 97:1,3,1,13,27,49
    103:1,1,1,15,7,5 109:1,3,1,15,13,25 115:1,1,5,5,19,61 131:1,3,7,11,23,15,103
    137:1,3,7,13,13,15,69 143:1,1,3,13,7,35,63 145:1,3,5,9,1,25,53 157:1,3,1,13,9,35,107
    167:1,3,1,5,27,61,31 171:1,1,5,11,19,41,61 185:1,3,5,3,3,13,69 191:1,1,7,13,1,19,1
    193:1,3,7,5,13,19,59 203:1,1,3,9,25,29,41 211:1,3,5,13,23,1,55 213:1,3,7,3,13,59,17
    229:1,3,1,3,5,53,69 239:1,1,5,5,23,33,13 241:1,1,7,7,1,61,123 247:1,1,7,9,13,61,49
    253:1,3,3,5,3,55,33 285:1,3,1,15,31,13,49,245 299:1,3,5,15,31,59,63,97
    301:1,3,1,11,11,11,77,249
"""


@cache
def direction_numbers() -> np.ndarray:
    """Direction numbers V, unsigned integers of 32 bits, of shape (40, 32)."""
    V = [[1 << (BITS - 1 - k) for k in range(BITS)]]
    for entry in JOE_KUO.split():
        polynomial, initial = entry.split(":")
        a, m = int(polynomial), [int(x) for x in initial.split(",")]
        degree = len(m)
        for k in range(degree, BITS):
            new = m[k - degree]
            for i in range(degree):
                if a >> i & 1:
                    new ^= m[k - degree + i] << (degree - i)
            m.append(new)
        V.append([m[k] << (BITS - 1 - k) for k in range(BITS)])
    return np.array(V, dtype=np.uint64)


def mix(x: np.ndarray) -> np.ndarray:
    """Finaliser of SplitMix64: unsigned 64-bit integers to hashes."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def scramble(x: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Nested uniform scrambling: flip each of 32 bits by a hash of the bits above it and a key."""
    out = x.copy()
    for bit in range(BITS):
        shift = np.uint64(BITS - 1 - bit)
        prefix = (x >> shift) >> np.uint64(1)
        # The 1 in front tells prefixes of different lengths apart.
        path = prefix | (np.uint64(1) << np.uint64(bit))
        out ^= (mix(keys ^ mix(path)) & np.uint64(1)) << shift
    return out


def points(indices: np.ndarray, dimensions: int, seed: int) -> np.ndarray:
    """Points of a Sobol sequence scrambled by `seed`.

    Parameters
    ----------
    indices : ndarray of int, shape (n,)
        Numbers of the points; any 2**k that follow a multiple of 2**k are well spread.
    dimensions : int
        Beyond 40, further dimensions are the same ones at shuffled indices.
    seed : int

    Returns
    -------
    ndarray of shape (n, dimensions)
        In the open interval (0, 1).
    """
    V = direction_numbers()
    indices = np.asarray(indices).astype(np.uint64) & np.uint64(0xFFFFFFFF)
    key = np.array([seed % 2**64], dtype=np.uint64)
    with np.errstate(over="ignore"):
        keys = mix(mix(key) + np.arange(1, dimensions + 1, dtype=np.uint64) * GOLDEN)
        columns = []
        for start in range(0, dimensions, len(V)):
            # A scrambled index is a shuffled one: blocks of 2**k stay blocks of 2**k.
            number = indices if start == 0 else scramble(indices, mix(keys[start : start + 1]))
            block = V[: min(len(V), dimensions - start)]
            x = np.zeros((len(indices), len(block)), dtype=np.uint64)
            for bit in range(BITS):
                chosen = (number >> np.uint64(bit) & np.uint64(1)).astype(bool)
                x[chosen] ^= block[:, bit]
            columns.append(scramble(x, keys[start : start + len(block)]))
    return (np.hstack(columns).astype(float) + 0.5) / 2.0**BITS
