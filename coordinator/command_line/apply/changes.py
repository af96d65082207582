"""What differs between a tenant and its file, and the requests that change it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coordinator.command_line.client import Request
from coordinator.command_line.errors import CommandError
from coordinator.command_line.output import Form
from coordinator.command_line.session import Session
from coordinator.command_line.text import clean

Ids = Mapping[str, str]
"""The ids of the tenant's alert channels by their names."""


@dataclass(frozen=True, slots=True)
class Change:
    """One request that is missing. `lines` say what it changes: path, value before, value after; None is absence.

    `request` gets the ids of the alert channels, also of those that earlier changes add. `adds_channel` is the name of
    the channel that this one adds.
    """

    lines: Sequence[tuple[str, Any, Any]]
    request: Callable[[Ids], Request]
    adds_channel: str = ""


def changed(lines: Sequence[tuple[str, Any, Any]], request: Request) -> Change:
    """Return a change whose request needs no ids."""
    return Change(lines, lambda _: request)


def is_same(present: Any, wanted: Any) -> bool:
    """Return True if two JSON values are equal. True is not 1."""
    if isinstance(present, bool) or isinstance(wanted, bool):
        return present is wanted
    return bool(present == wanted)


def show(session: Session, changes: Sequence[Change]) -> None:
    """Print the plan."""
    lines = [line for change in changes for line in change.lines]
    if session.output.form is Form.JSON:
        session.output.value([{"path": path, "before": before, "after": after} for path, before, after in lines])
        return
    for path, before, after in lines:
        mark = "+" if before is None else "-" if after is None else "~"
        values = [json.dumps(value) for value in (before, after) if value is not None]
        session.output.text(f"{mark} {clean(path)}: {' -> '.join(values)}")
    session.output.text(f"{len(lines)} to change" if lines else "nothing to change")


def send(session: Session, changes: Sequence[Change], channel_ids: Ids) -> None:
    """Send the requests in order. Raises `CommandError` at the first that is refused, and says how many were sent."""
    ids = dict(channel_ids)
    for count, change in enumerate(changes):
        try:
            response = session.client.call(change.request(ids))
        except CommandError as error:
            paths = ", ".join(path for path, _, _ in change.lines)
            message = f"{error}\n  at {paths}, after {count} of {len(changes)} requests; repeat to continue"
            raise CommandError(message, error.status) from None
        if change.adds_channel:
            ids[change.adds_channel] = str(response.get("channelId"))
