"""User-level failure mitigation: going on without a rank that has died.

Open MPI 5 has it where the job is started by ``mpirun --with-ft ulfm`` (Bland et al. 2013,
"Post-failure recovery of MPI communication capability", doi:10.1177/1094342013488238). Then an
operation that needs a dead rank raises an error on the ranks that take part in it; what is said
between two living ranks still arrives.
"""

from __future__ import annotations

import os

from mpi4py import MPI


def enabled() -> bool:
    """Whether the launcher lets the job outlive one of its ranks."""
    return os.environ.get("OMPI_MCA_mpi_ft_enable") == "1"  # noqa: SIM112


def is_death(error: MPI.Exception) -> bool:
    """Whether an operation failed because a rank has died, here or elsewhere."""
    return error.Get_error_class() in (
        MPI.ERR_PROC_FAILED,
        MPI.ERR_PROC_FAILED_PENDING,
        MPI.ERR_REVOKED,
    )


def dead(comm: MPI.Intracomm) -> set[int]:
    """Ranks of `comm` that are known to have died; the receives from any rank go on."""
    group = comm.Get_failed()
    comm.Ack_failed()
    ranks = MPI.Group.Translate_ranks(group, list(range(group.Get_size())), comm.Get_group())
    return set(ranks)


def survivors(comm: MPI.Intracomm) -> MPI.Intracomm:
    """A communicator of those that live, in the same order (collective among them)."""
    comm.Revoke()  # whoever waits for something on it hears of the death
    return MPI.Intracomm(comm.Shrink())
