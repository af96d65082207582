from collections.abc import Iterator
from contextlib import contextmanager

from foundation.places import Places


@contextmanager
def limited(places: Places, most: int) -> Iterator[None]:
    """Let `places` have at most `most` places during the block."""
    before, places.most = places.most, most
    try:
        yield
    finally:
        places.most = before
