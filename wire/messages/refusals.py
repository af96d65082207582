"""What each code of a refused or dropped message means. `docs/reference/errors.md` is generated from it."""

from collections.abc import Mapping
from typing import Final

REFUSED: Final[Mapping[str, tuple[str, str]]] = {
    "ENVELOPE_MALFORMED": (
        "Any message",
        "It has not the form of a message of the expected kind, or it contains too many values.",
    ),
    "KEY_NOT_ACTIVE": (
        "Any message",
        "It was not sealed with an active worker key of its tenant. The key was revoked, or belongs to another tenant "
        "or coordinator.",
    ),
    "SIGNATURE_INVALID": ("Any message", "It was changed after it was signed."),
    "COMMAND_TAKEN": ("A command", "Another worker took it first, it was delivered twice, or its lease has expired."),
    "WORKER_LIMIT_REACHED": (
        "A heartbeat",
        "It would register more workers, or more ids within a day, than `MAX_TENANT_WORKERS` allows.",
    ),
    "TENANT_UNKNOWN": ("A heartbeat, outcomes", "The tenant does not exist."),
    "TIMESTAMP_REFUSED": (
        "A heartbeat, a command, an order",
        "It is too old, or its time is in the future. Compare the clocks.",
    ),
    "ORDER_MISDIRECTED": ("An order", "It is for another worker, or for another release."),
    "ORDER_OUTDATED": ("An order", "The worker has already received this order or a newer one."),
}
"""Codes of messages that their receiver refuses: which messages, and why."""

DROPPED: Final[Mapping[str, tuple[str, str]]] = {
    "MESSAGE_MALFORMED": ("Any message", "It does not have the form in which this product sends messages."),
    "MESSAGE_TOO_LARGE": ("Any message", "It is larger than any message with this task can be."),
    "TASK_NOT_ACCEPTED": ("Any message", "Its queue does not carry this task."),
    "SIGNATURE_INVALID": (
        "A message of the coordinator to itself",
        "It was not signed with a key derived from `SECRET_KEY`, or it was changed or moved from another queue.",
    ),
    "MESSAGE_EXPIRED": (
        "A message of the coordinator to itself",
        "It was sent more than ten minutes ago, or its time is more than two minutes in the future. The sweep finds "
        "the work. Compare the clocks.",
    ),
}
"""Codes of messages with a wrong outer form, which are dropped before: which messages, and why."""
