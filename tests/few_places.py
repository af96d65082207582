"""Places of this process that are few for the length of a test."""

from collections.abc import Iterator
from contextlib import contextmanager

from foundation.scheduling.places import Places


@contextmanager
def limited(kind: Places, most: int) -> Iterator[None]:
    before, kind.most = kind.most, most
    try:
        yield
    finally:
        kind.most = before
