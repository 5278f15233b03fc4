"""mpirun -n 4 python probe_doubt.py FILE: rank 0 prints what every rank doubts."""

import sys
from pathlib import Path

from mpi4py import MPI

from phs_mpi.store import probe

told = MPI.COMM_WORLD.gather(probe.doubt(MPI.COMM_WORLD, Path(sys.argv[1])))
if told is not None:
    print(told, flush=True)
