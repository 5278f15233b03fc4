"""``python -m phs_mpi``."""

import gc
import sys

from .backends import threads

# Linear algebra makes its threads when NumPy is loaded.
threads.before_numpy()

# What is loaded now stays: to look through it for garbage, again and again, takes 5 ms.
gc.disable()

# Here, and not where it is first used: from deep within other imports it takes 10 ms longer.
import numpy  # noqa: F401

from .cli import main

gc.freeze()
gc.enable()

if __name__ == "__main__":
    sys.exit(main())
