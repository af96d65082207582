"""The format of all messages between this product's processes, and the rules for accepting them. Pure.

A message has three lines: signature, header and body. The body is that of Celery's message protocol 2: positional
arguments, keyword arguments, and the tasks that follow. The coordinator signs its messages with keys that no worker
has. The signature covers queue, header and body, so a message cannot be changed or moved to another queue. The header
contains the time, so a message cannot be replayed much later.

A receiver accepts exactly this format. It uses only the members of `TaskMessage`.

Small commands and outcomes travel in groups: `commands_in_a_message` and `groups` say how many a message has.
"""

import hashlib
import hmac
import json
import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from wire.documents.json_reader import LONGEST_OUTCOME, holds_more_values
from wire.messages.queues import EXECUTE_TASK, RECORD_TASK

if TYPE_CHECKING:
    from wire.messages.task_headers import Header

# In seconds. Older messages can be dropped: they only announce work that is in a row, which the sweep finds.
LONGEST_AGE = 600.0
LONGEST_MESSAGE = 8 * LONGEST_OUTCOME
"""In bytes. A character of an outcome takes at most eight bytes as UTF-8 in JSON text that is nested in JSON text."""
LONGEST_SMALL_MESSAGE = 4 * 1024**2
"""In bytes, for all tasks except those in TASKS_WITH_PAYLOADS. A heartbeat with all its leases is shorter."""
TASKS_WITH_PAYLOADS = frozenset({EXECUTE_TASK, RECORD_TASK})
LONGEST_HEADER = 1_000
"""In bytes."""
MOST_ENVELOPE_VALUES = 100
"""How many JSON values the body of a message with an envelope may have. The envelope's own body is JSON text."""
NOTHING_FOLLOWS = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}

# A message costs about as much as ten transitions of a fast pipeline, so their commands are sent in groups. Commands of
# slow pipelines are sent singly, so that none waits for another one while a thread is idle.
WORTH_SECONDS = 0.01
"""A message should carry at least this much work, to be worth its cost."""
LONGEST_SECONDS = 0.1
"""A message should carry at most this much work, because one thread may run all of it."""
MOST_COMMANDS = 200
MOST_BYTES = 256 * 1024

_Item = TypeVar("_Item")


class MessageRefused(Exception):
    """A message that the receiver does not accept. `code` is stable. The text contains no part of the message.

    `age` is set if the message is signed, but too old or from the future: how many seconds ago its sender signed it.
    """

    def __init__(self, code: str, *, age: float | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.age = age


@dataclass(frozen=True, slots=True)
class TaskMessage:
    """A call of a task. `eta` and `expires` are ISO 8601 instants: the earliest and the latest time to run it."""

    task: str
    arguments: list[Any]
    eta: str | None = None
    expires: str | None = None
    retries: int = 0


def signing_keys(secrets: Sequence[str]) -> list[bytes]:
    """Derive keys from the coordinator's secrets. The first key signs messages; all of them verify messages."""
    return [hmac.digest(secret.encode(), b"task-messages", "sha256") for secret in secrets]


def longest_message(task: str) -> int:
    """Return how many bytes a message with this task may have."""
    return LONGEST_MESSAGE if task in TASKS_WITH_PAYLOADS else LONGEST_SMALL_MESSAGE


def accepts_nothing(queue: str, task: str) -> bool:
    """Accept no task, for a process that only sends."""
    return False


class TaskMessages:
    """Writes and reads the messages of one process.

    `accepts(queue, task)` decides which tasks a queue may carry. A message must be signed with one of `keys`, unless
    its task is in `unsigned`. The only argument of such a task is an envelope, which the task itself verifies; such
    messages have no age limit. Unsigned messages cannot be delayed and cannot be retries. Without `keys`, messages are
    sent unsigned.
    """

    def __init__(
        self,
        *,
        accepts: Callable[[str, str], bool] = accepts_nothing,
        unsigned: Collection[str] = (),
        keys: Sequence[bytes] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._accepts = accepts
        self._unsigned = frozenset(unsigned)
        self._keys = list(keys)
        self._clock = clock

    def write(self, queue: str, header: dict[str, Any], body: bytes) -> bytes:
        """Return the message for `queue`.

        `header` has the members of `TaskMessage` except the arguments; `body` is JSON. Raises `MessageRefused` if no
        receiver accepts a message of that size.
        """
        text = json.dumps({**header, "sentAt": self._clock()}).encode()
        signature = _signature(self._keys[0], queue, text, body) if self._keys else b""
        message = b"\n".join((signature, text, body))
        if len(message) > LONGEST_SMALL_MESSAGE and len(message) > longest_message(header["task"]):
            raise MessageRefused("MESSAGE_TOO_LARGE")
        return message

    def read(self, queue: str, message: bytes) -> TaskMessage:
        """Return the task that `message` calls. Raises `MessageRefused`."""
        if len(message) > LONGEST_MESSAGE:
            raise MessageRefused("MESSAGE_TOO_LARGE")
        lines = message.split(b"\n", 2)
        if len(lines) != 3:
            raise MessageRefused("MESSAGE_MALFORMED")
        signature, text, body = lines
        header = _header(text)
        if len(message) > longest_message(header.task):
            raise MessageRefused("MESSAGE_TOO_LARGE")
        if not self._accepts(queue, header.task):
            raise MessageRefused("TASK_NOT_ACCEPTED")
        needs_none = header.task in self._unsigned and header.is_plain
        if not needs_none and not self._is_signed(signature, queue, text, body):
            raise MessageRefused("SIGNATURE_INVALID")
        if header.task in self._unsigned:
            return _with_one_envelope(header, body)
        age = self._clock() - header.sent_at
        if not -header.tolerance <= age <= LONGEST_AGE:
            raise MessageRefused("MESSAGE_EXPIRED", age=age)
        return _task_message(header, body)

    def _is_signed(self, signature: bytes, queue: str, text: bytes, body: bytes) -> bool:
        return any(hmac.compare_digest(signature, _signature(key, queue, text, body)) for key in self._keys)


def _header(text: bytes) -> "Header":
    # A process that only sends, such as the clock, does not load it.
    from wire.messages.task_headers import Header, ValidationError

    if len(text) > LONGEST_HEADER:
        raise MessageRefused("MESSAGE_MALFORMED")
    try:
        return Header.model_validate_json(text)
    except ValidationError:
        raise MessageRefused("MESSAGE_MALFORMED") from None


def _task_message(header: "Header", body: bytes) -> TaskMessage:
    from wire.messages.task_headers import from_json

    try:
        arguments, named, following = from_json(body)
    except (ValueError, TypeError):
        raise MessageRefused("MESSAGE_MALFORMED") from None
    if not isinstance(arguments, list) or named != {} or following != NOTHING_FOLLOWS:
        raise MessageRefused("MESSAGE_MALFORMED")
    return TaskMessage(header.task, arguments, header.eta, header.expires, header.retries)


def _with_one_envelope(header: "Header", body: bytes) -> TaskMessage:
    if holds_more_values(body, MOST_ENVELOPE_VALUES):
        raise MessageRefused("MESSAGE_MALFORMED")
    message = _task_message(header, body)
    if len(message.arguments) != 1 or not isinstance(message.arguments[0], dict):
        raise MessageRefused("MESSAGE_MALFORMED")
    return message


def _signature(key: bytes, queue: str, header: bytes, body: bytes) -> bytes:
    """Sign queue, header and body. Queue and header contain no line break, so different parts give different texts."""
    signed = hmac.new(key, queue.encode() + b"\n" + header + b"\n", hashlib.sha256)
    signed.update(body)
    return signed.hexdigest().encode()


def commands_in_a_message(due: int, *, threads: int, seconds: float | None) -> int:
    """Return how many of `due` commands go into each message, for `threads` threads that need `seconds` per command.

    The commands are shared evenly among the threads. If `seconds` is None, each command gets a separate message.
    """
    if seconds is None:
        return 1
    per_command = max(seconds, 1e-5)
    share = math.ceil(due / max(threads, 1))
    least = math.floor(WORTH_SECONDS / per_command)
    most = math.floor(LONGEST_SECONDS / per_command)
    return min(max(share, least, 1), max(most, 1), MOST_COMMANDS)


def groups(items: Sequence[_Item], sizes: Sequence[int], *, most: int) -> Iterator[list[_Item]]:
    """Yield `items` in order, in groups of at most `most` items and MOST_BYTES bytes. Larger items come singly."""
    group: list[_Item] = []
    total = 0
    for item, size in zip(items, sizes, strict=True):
        if group and (len(group) == most or total + size > MOST_BYTES):
            yield group
            group, total = [], 0
        group.append(item)
        total += size
    if group:
        yield group
