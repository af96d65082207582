"""Makes the C library return the memory of large blocks to the system as soon as they are freed."""

import ctypes

_M_MMAP_THRESHOLD = -3
LARGE_BYTES = 128 * 1024


def return_large_blocks() -> bool:
    """Map each block of LARGE_BYTES or more separately. Return False if the C library is not glibc.

    This is glibc's default until the first such block is freed. Then glibc raises the threshold, up to 32 MiB, and
    allocates smaller blocks from the arenas of the threads, which keep the most memory that they ever needed.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES))
    except AttributeError:
        return False
