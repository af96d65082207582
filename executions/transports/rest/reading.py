"""Reads messages of REST workers. Counts the members that this version does not know, and logs each name once."""

import logging
from typing import Final

from executions import metrics
from wire.messages.rest_messages import Capabilities, Message, TransitionResult, parse
from wire.messages.signed_requests import NewNames, unknown_members

log = logging.getLogger(__name__)
KINDS: Final = {TransitionResult: "result", Capabilities: "capabilities"}
_logged = NewNames()


def read(model: type[Message], body: bytes) -> Message:
    """Return the message in `body`. Raises `Malformed`."""
    message = parse(model, body)
    if names := unknown_members(message):
        kind = KINDS[model]
        metrics.unknown_members.add(kind, amount=len(names))
        for name in _logged.among(names):
            log.info("Ignored the unknown member %s of a REST worker's %s", name, kind)
    return message
