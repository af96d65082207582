"""Ends a process with its parent. Loads no Django, because it must run as early as possible."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def end_with(parent: int | None) -> None:
    """Send SIGTERM to this process when its parent process ends, and now if `parent` has ended before."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
