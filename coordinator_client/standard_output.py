"""What both command lines do if the reader of their output ends, as with `| head -1`."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

READER_ENDED: Final = 141
"""The exit status: the one with which a shell reports that a program was ended by SIGPIPE."""


@contextmanager
def until_its_reader_ends() -> Iterator[None]:
    """Write all that the block prints. If the reader of stdout ends before that, exit with READER_ENDED, silently."""
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        # What is left in the buffer goes nowhere, so that the flush at the end of the process does not fail.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        sys.exit(READER_ENDED)
