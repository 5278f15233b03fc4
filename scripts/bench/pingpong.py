"""Raw limit of self-scheduling: 8-byte ping-pong between rank 0 and all workers.

    mpirun -n 4 python scripts/bench/pingpong.py [messages]

Rank 0 answers whoever writes; blocking calls from a compiled library with the smallest loop
Python allows. Prints the answers per second.
"""

import sys
import time

import numpy as np
from mpi4py import MPI

comm = MPI.COMM_WORLD
workers = comm.Get_size() - 1
total = int(sys.argv[1]) if len(sys.argv) > 1 else 60_000
each = total // workers
word = np.zeros(1, np.int64)
buffer = [word, MPI.INT64_T]
status = MPI.Status()
comm.Barrier()
begun = time.perf_counter()
if comm.Get_rank() == 0:
    receive, send, source = comm.Recv, comm.Send, status.Get_source
    for _ in range(each * workers):
        receive(buffer, MPI.ANY_SOURCE, 0, status)
        send(buffer, source(), 0)
    print(f"{each * workers / (time.perf_counter() - begun):.0f}")
else:
    send, receive = comm.Send, comm.Recv
    for _ in range(each):
        send(buffer, 0, 0)
        receive(buffer, 0, 0)
