"""``python -m medtl.grid.child PARENT COMMAND…``: become COMMAND, which on Linux is told to end when PARENT dies.

The comparison may be killed in a way that it cannot answer to; its cells would then run on with nobody to record
them. The kernel's wish to be told (PR_SET_PDEATHSIG, prctl(2)) outlives execve and is set in the child itself, so no
code runs between fork and exec of the comparison.
"""

import ctypes
import os
import shlex
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Set the wish, tell the log what is run, and become it."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the wish was set
        sys.exit(1)
    print(f"process {os.getpid()}: {shlex.join(command)}", flush=True)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
