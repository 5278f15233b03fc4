"""Rows committed by all ranks together, and the same bytes by a bare pwrite.

    mpirun -n 4 python scripts/bench/store_rows.py FILE ROWS

FILE is an empty results file of the experiment in store.py. Prints rows per second of
all ranks: by the store, and by `os.pwrite` into a file beside it.
"""

from __future__ import annotations

import os
import sys
import time

from mpi4py import MPI
from store import experiment_of

from phs_mpi.log import Outcome, Proposal, Status
from phs_mpi.store import open_store
from phs_mpi.store.schema import evaluation_dtype


def main(path: str, rows: int) -> None:
    comm = MPI.COMM_WORLD
    rank, size = comm.Get_rank(), comm.Get_size()
    table = experiment_of(rows).table()
    store = open_store(path, table, comm if size > 1 else None)
    mine = range(rank, rows, size)
    proposals = [Proposal(i, table.defined(i), table.source(i)) for i in mine]
    outcomes = [Outcome(i, Status.DONE, result=0.5, worker=rank, host="node-1") for i in mine]
    comm.Barrier()
    begun = time.perf_counter()
    for proposal, outcome in zip(proposals, outcomes, strict=True):
        store.commit(proposal, outcome)
    comm.Barrier()
    seconds = time.perf_counter() - begun
    store.close()
    width = evaluation_dtype(table.dtype).itemsize
    raw = os.open(path + ".raw", os.O_WRONLY | os.O_CREAT)
    row = bytes(width)
    comm.Barrier()
    begun = time.perf_counter()
    for index in mine:
        os.pwrite(raw, row, index * width)
    comm.Barrier()
    bare = time.perf_counter() - begun
    os.close(raw)
    if rank == 0:
        print(f"{rows / seconds} {rows / bare}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
