"""The limits of messages, over the broker and over HTTP, and how many commands one message carries. Pure.

A message costs about as much as ten transitions of a fast pipeline, so their commands are sent in groups. Commands of
slow pipelines are sent singly, so that none waits for another one while a thread is idle. The limits of the values in
messages are in `wire.documents.json_reader`.
"""

import math
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TypeVar

TOLERANCE = timedelta(minutes=2)
"""How far the clocks of a sender and a receiver may differ."""
LONGEST_WAIT = timedelta(days=36_525)
"""The longest timeout of an await: a hundred years."""
LONGEST_STEP_ID = 300
"""In characters, like all limits of texts below."""
LONGEST_TYPE = 500
"""The name of a type."""
LONGEST_RECIPIENT = 200
"""An await's assignee or group."""
LONGEST_WORKER_ID = 190
"""With a prefix such as `worker:` it fits into the columns for actors and owners of leases."""
LONGEST_TRACEBACK = 4_000
MOST_TOGETHER = 1_000
"""The number of commands, outcomes or checkpoints in one group."""
MOST_LEASES = 10_000
"""The number of leases of one kind that a heartbeat or an instruction names. A worker has at most as many threads."""
MOST_SPANS = 1_000
"""The number of steps in one outcome or checkpoint whose times are reported. Those of later steps are not."""
MOST_DIFFERENCES = 50
"""The number of differences that a heartbeat lists between a worker's environment and the required one."""


WORTH_SECONDS = 0.01
"""A message should carry at least this much work, to be worth its cost."""
LONGEST_SECONDS = 0.1
"""A message should carry at most this much work, because one thread may run all of it."""
MOST_COMMANDS = 200
MOST_BYTES = 256 * 1024

Item = TypeVar("Item")


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
