"""How many commands of one release one message carries. Pure.

A message costs about as much as ten transitions of a fast pipeline, so a backlog of those travels in groups; what is
slow travels alone, so that it never waits behind itself while another thread has nothing to do.
"""

import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

WORTH_SECONDS = 0.01
"""Below this much work in it a message is not worth its own cost."""
LONGEST_SECONDS = 0.1
"""More work than this is more than one thread should have in hand."""
MOST_COMMANDS = 200
MOST_BYTES = 256 * 1024

Item = TypeVar("Item")


def commands_in_a_message(due: int, *, threads: int, seconds: float | None) -> int:
    """How many of `due` commands go into each message, for `threads` threads that need `seconds` for each.

    Everybody gets a share before anybody gets a second helping. Where it is not known how long a transition takes,
    each travels alone.
    """
    if seconds is None:
        return 1
    each = max(seconds, 1e-5)
    share = math.ceil(due / max(threads, 1))
    least = math.floor(WORTH_SECONDS / each)
    most = math.floor(LONGEST_SECONDS / each)
    return min(max(share, least, 1), max(most, 1), MOST_COMMANDS)


def groups(items: Sequence[Item], sizes: Sequence[int], *, most: int) -> Iterator[list[Item]]:
    """`items` in their order, in groups of at most `most`, and of MOST_BYTES unless one item alone is larger."""
    group: list[Item] = []
    held = 0
    for item, size in zip(items, sizes, strict=True):
        if group and (len(group) == most or held + size > MOST_BYTES):
            yield group
            group, held = [], 0
        group.append(item)
        held += size
    if group:
        yield group
