"""``python -m phs_mpi``."""

import sys

from .backends import threads

# Linear algebra makes its threads when NumPy is loaded.
threads.before_numpy()

# Here, and not where it is first used: from deep within other imports it takes 10 ms longer.
import numpy  # noqa: F401

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
