"""Has the C library return the memory of large blocks to the system as soon as they are freed."""

import ctypes

_M_MMAP_THRESHOLD = -3
LARGE_BYTES = 128 * 1024


def return_large_blocks() -> bool:
    """Give every block of LARGE_BYTES or more a mapping of its own. Returns False where the C library is not glibc.

    That is glibc's default until the first such block is freed. Then it raises the bound, up to 32 MiB, and larger
    blocks come from the arenas of the threads, which keep what was ever needed at one time.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES))
    except AttributeError:
        return False
