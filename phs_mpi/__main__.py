"""``python -m phs_mpi``."""

import sys

from .backends import threads

# Linear algebra makes its threads when NumPy is loaded.
threads.before_numpy()

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
