"""Changes sealed messages, for tests of what their receivers refuse."""

from collections.abc import Mapping
from typing import Any

from wire.messages.sealing import seal_of, verify
from wire.worker_keys import WorkerKey


def resealed(message: dict[str, Any], key: WorkerKey, **changes: Any) -> dict[str, Any]:
    """Return a sealed message with changed members and a valid seal, which only a holder of the key can create."""
    header = {name: value for name, value in (message | changes).items() if name not in {"body", "seals"}}
    body = changes["body"] if "body" in changes else body_of(message, key)
    return {**header, "seals": [seal_of(header, body, key, encrypt=message["seals"][0]["encrypted"])]}


def changed(message: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a sealed message with changes in its only seal or its header. The value `...` removes a member."""
    [sealed] = message["seals"]
    inside = {name: value for name, value in changes.items() if name in sealed}
    outside = {name: value for name, value in changes.items() if name not in sealed}
    other = {**message, "seals": [_without_removed(sealed | inside)], **outside}
    return _without_removed(other)


def _without_removed(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not ...}


def body_of(message: dict[str, Any], key: WorkerKey) -> str:
    if not message["seals"][0]["encrypted"]:
        return str(message["seals"][0]["body"])
    verified = verify(message, lambda _: [key])
    return key.decrypt(verified.seal.body, nonce=message["nonce"], header=verified.bound).decode()
