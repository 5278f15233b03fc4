"""mpirun -n 4 python probe_doubt.py FILE: every rank prints what it doubts."""

import sys
from pathlib import Path

from mpi4py import MPI

from phs_mpi.store import probe

print(repr(probe.doubt(MPI.COMM_WORLD, Path(sys.argv[1]))), flush=True)
