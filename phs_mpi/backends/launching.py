"""What a launcher says of the ranks it has started, before MPI is there to be asked."""

from __future__ import annotations

import os
import sys
import time

#: Seconds that the first rank has for its message: importing NumPy on a busy node takes some.
FAREWELL_SECONDS = 5.0


def launched_size() -> int | None:
    """Number of ranks that the launcher says it started; None without a launcher.

    mpirun inside a SLURM job also sees SLURM's variables, which then count the launcher's
    own daemons: the MPI's own variables come first.
    """
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_NUM_TASKS"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return None


def launched_rank() -> int:
    """Rank that the launcher gave this process; 0 without a launcher."""
    for name in ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "MPI_LOCALRANKID", "SLURM_PROCID"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0


def let_the_first_rank_speak() -> None:
    """On other ranks than the first: wait while that says why all of them end.

    A launcher ends all ranks when one has ended, the first one in the middle of its message.
    """
    # With MPI in use, its end is waited for on all ranks anyway.
    if launched_rank() != 0 and "mpi4py.MPI" not in sys.modules:
        time.sleep(FAREWELL_SECONDS)
