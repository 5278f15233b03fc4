"""Run a program on a system whose kernel refuses record locks, as file systems without them do.

python without_locks.py PROGRAM ARGUMENTS...

A seccomp filter makes ``fcntl(F_SETLK)`` end with ENOLCK for this process and what it starts.
x86-64 Linux only.
"""

import ctypes
import errno
import os
import struct
import sys

LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
FCNTL, F_SETLK = 72, 6
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.ENOLCK
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2


def refuse_locks() -> None:
    program = [
        (LOAD, 0, 0, 0),  # number of the system call
        (JUMP_IF_EQUAL, 0, 3, FCNTL),
        (LOAD, 0, 0, 16 + 8),  # its second argument
        (JUMP_IF_EQUAL, 0, 1, F_SETLK),
        (RETURN, 0, 0, REFUSE),
        (RETURN, 0, 0, ALLOW),
    ]
    code = b"".join(struct.pack("<HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code)
    head = ctypes.create_string_buffer(
        struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(buffer))
    )
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, FILTER, ctypes.byref(head), 0, 0
    ):
        sys.exit(f"no seccomp: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    refuse_locks()
    os.execvp(sys.argv[1], sys.argv[1:])
