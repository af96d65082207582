"""How many commands or items a message has. Pure; both sides share it."""

import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")

# A message costs about as much as ten transitions of a fast pipeline, so their commands are sent in groups. Commands of
# slow pipelines are sent singly, so that none waits for another one while a thread is idle.
WORTH_SECONDS = 0.01
"""A message should carry at least this much work, to be worth its cost."""
LONGEST_SECONDS = 0.1
"""A message should carry at most this much work, because one thread may run all of it."""
MOST_COMMANDS = 200
MOST_BYTES = 256 * 1024


def commands_in_a_message(due: int, *, threads: int, seconds: float | None) -> int:
    """Return how many of `due` commands go into each message, for `threads` threads that need `seconds` per command.

    The commands are shared evenly among the threads. If `seconds` is None, each command gets a separate message.
    """
    if seconds is None:
        return 1
    each = max(seconds, 1e-5)
    share = math.ceil(due / max(threads, 1))
    least = math.floor(WORTH_SECONDS / each)
    most = math.floor(LONGEST_SECONDS / each)
    return min(max(share, least, 1), max(most, 1), MOST_COMMANDS)


def groups(items: Sequence[Item], sizes: Sequence[int], *, most: int) -> Iterator[list[Item]]:
    """Yield `items` in order, in groups of at most `most` items and MOST_BYTES bytes. Larger items come singly."""
    group: list[Item] = []
    total = 0
    for item, size in zip(items, sizes, strict=True):
        if group and (len(group) == most or total + size > MOST_BYTES):
            yield group
            group, total = [], 0
        group.append(item)
        total += size
    if group:
        yield group
