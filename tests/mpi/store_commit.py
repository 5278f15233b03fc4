"""Every rank commits its share of rows in parallel, and tells of each once it is written.

mpirun -n 3 python store_commit.py FILE TOLD_FOLDER SETS
"""

import os
import sys
import time
from pathlib import Path

from mpi4py import MPI
from results import make_experiment, make_outcome, make_proposal

from phs_mpi.log import EntryKind
from phs_mpi.store import open_store


def main(path: str, told_folder: str, sets: str) -> None:
    comm = MPI.COMM_WORLD.Dup()
    rank, size = comm.Get_rank(), comm.Get_size()
    experiment = make_experiment(int(sets) // 2, int(sets) - int(sets) // 2)
    table = experiment.table()
    store = open_store(path, table, comm)
    told = os.open(Path(told_folder) / str(rank), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    mine = range(rank, len(table), size)
    begun = time.perf_counter()
    for index in mine:
        proposal = make_proposal(table, index)
        store.commit(proposal, make_outcome(proposal, worker=rank))
        os.write(told, b"%d\n" % index)
        if rank == 0:
            store.append_log([EntryKind.STARTED, EntryKind.COMPLETED], [index, index])
    seconds = time.perf_counter() - begun
    store.close()
    print(f"rank {rank}: {1e6 * seconds / len(mine):.0f} us a row", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
