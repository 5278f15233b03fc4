"""Run phs_mpi under mpirun, one rank on a machine "elsewhere" that sees a folder differently.

mpirun -n 4 python apart.py RANK FOLDER empty|read-only ARGUMENTS...

Takes root: the rank gets a mount namespace and a host name of its own.
"""

import os
import sys

MOUNTS = {
    "empty": 'mount -t tmpfs none "$1"',
    "read-only": 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"',
}


def main(rank: str, folder: str, how: str, *arguments: str) -> None:
    command = [sys.executable, "-m", "phs_mpi", *arguments]
    if rank in (os.environ.get("OMPI_COMM_WORLD_RANK"), os.environ.get("PMI_RANK")):
        script = f'hostname elsewhere && {MOUNTS[how]} && shift && exec "$@"'
        command = ["unshare", "--mount", "--uts", "sh", "-c", script, "sh", folder, *command]
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
