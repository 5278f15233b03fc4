"""A target that uses several threads itself: each worker gets the cores that it may use.

mpirun -n 3 --map-by slot:PE=2 python -m phs_mpi scripts/examples/threads.py
srun -n 33 --cpus-per-task=4 python -m phs_mpi scripts/examples/threads.py

phs_mpi sets the numbers of threads of OpenMP, MKL and OpenBLAS to the cores that a worker is bound
to, or to its share of the node, before this file is imported; what makes threads in another way
can ask for that number. The search is for settings that compress a text best.
"""

import os
import random
import zlib
from concurrent.futures import ThreadPoolExecutor

from phs_mpi import Bayesian, Choice, Experiment, Random

THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))
STRATEGIES = ["default", "filtered", "huffman", "rle"]
NUMBERS = {
    "default": zlib.Z_DEFAULT_STRATEGY,
    "filtered": zlib.Z_FILTERED,
    "huffman": zlib.Z_HUFFMAN_ONLY,
    "rle": zlib.Z_RLE,
}


def some_text(words=100_000):
    draw = random.Random(1)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    lexicon = ["".join(draw.choices(syllables, k=draw.randint(1, 4))) for _ in range(2000)]
    return " ".join(draw.choices(lexicon, range(2000, 0, -1), k=words)).encode()


TEXT = some_text()


def size(level, memory, window, block, strategy):
    def compress(start):
        packer = zlib.compressobj(level, zlib.DEFLATED, window, memory, NUMBERS[strategy])
        return len(packer.compress(TEXT[start : start + block]) + packer.flush())

    with ThreadPoolExecutor(THREADS) as pool:  # zlib lets other threads run meanwhile
        packed = sum(pool.map(compress, range(0, len(TEXT), block)))
    return {"result": packed / len(TEXT), "threads": THREADS}


experiment = Experiment(
    size,
    parameters={"level": int, "memory": int, "window": int, "block": int, "strategy": STRATEGIES},
    metrics=["threads"],
    seed=2,
)
experiment.add(
    16,
    level=Random(1, 9),
    memory=Random(1, 9),
    window=Random(9, 15),
    block=Random(1_000, 500_000, log=True),
    strategy=Choice(STRATEGIES),
)
experiment.add(
    16,
    level=Bayesian(1, 9),
    memory=Bayesian(1, 9),
    window=Bayesian(9, 15),
    block=Bayesian(1_000, 500_000, log=True),
    strategy=Bayesian(STRATEGIES),
)
