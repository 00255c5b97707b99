"""Becomes a part of the stack: drops root, ties its life to the supervisor's, runs the command.

Run as a script, outside the package, so that it costs a few milliseconds and no import. A
`preexec_fn` would do the same inside a process with threads, where it may deadlock.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522


def call(libc: ctypes.CDLL, function: str, *arguments: object) -> None:
    """One system call that must succeed."""
    if getattr(libc, function)(*arguments) != 0:
        number = ctypes.get_errno()
        sys.exit(f"{function}: {os.strerror(number)}")


def become(libc: ctypes.CDLL, uid: int, gid: int, reach: bool) -> None:
    """Turn from root into an account without rights, but for reaching files where `reach` says so.

    PostgreSQL refuses to run as root. Its data may lie below a directory that only root may
    enter, such as /root; opening that directory to everybody would be worse than letting this
    one process pass.
    """
    if reach:
        call(libc, "prctl", PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if reach:
        bit = 1 << CAP_DAC_OVERRIDE
        header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
        capabilities = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
        call(libc, "capset", header, capabilities)
        call(libc, "prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)


def main(arguments: list[str]) -> None:
    """launch.py <supervisor's pid> <signal> <uid:gid:reach or -> <command…>."""
    supervisor, signal, account, *command = arguments
    libc = ctypes.CDLL(None, use_errno=True)
    if account != "-":
        uid, gid, reach = account.split(":")
        become(libc, int(uid), int(gid), reach == "1")
    if sys.platform == "linux":
        # After the change of account, which would clear it.
        call(libc, "prctl", PR_SET_PDEATHSIG, int(signal), 0, 0, 0)
    if os.getppid() != int(supervisor):
        sys.exit("the supervisor died before this part began")
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is the point
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
