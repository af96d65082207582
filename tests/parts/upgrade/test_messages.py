"""Messages between the last release and the working tree are read by both, also with members that only one knows."""

import json
import os
from typing import Any

import pytest

from tests.cases import cases
from tests.parts.upgrade import released
from tests.programs import output_of
from tests.unit.wire.messages.test_protocol import BODIES, IDENTITY, SECRET
from wire.messages.sealing import decode, seal, seal_of, verify
from wire.worker_keys import worker_key

KEY = worker_key(SECRET, IDENTITY.tenant_id)
READ = """
import json, sys
from wire.messages.sealing import KINDS, decode, verify
from wire.worker_keys import worker_key
message, tenant, secret = json.load(sys.stdin)
verified = verify(message, lambda _: [worker_key(secret, tenant)])
[body] = [body for body, kind in KINDS.items() if kind == message["kind"]]
print(decode(verified, body).model_dump_json(by_alias=True))
"""
"""Reads one message with the modules of any version, and prints its body."""


@pytest.fixture(scope="module")
def last_release(tmp_path_factory: pytest.TempPathFactory) -> released.Version:
    return released.last_release(tmp_path_factory.mktemp("release") / "tree")


def read_by(version: released.Version, message: dict[str, Any]) -> Any:
    """Return the body as this version reads it, as JSON."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(version.project)}
    sent = json.dumps([message, IDENTITY.tenant_id, SECRET])
    return json.loads(output_of([version.programs / "python", "-c", READ], env=environment, sent=sent))


def with_members(value: Any, member: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {**{key: with_members(inner, member) for key, inner in value.items()}, **member}
    return [with_members(item, member) for item in value] if isinstance(value, list) else value


def sealed(body: Any, content: Any) -> dict[str, Any]:
    """Seal `content` as the body of a message of the same kind as `body`."""
    message = seal(IDENTITY, body, KEY)
    header = {name: value for name, value in message.items() if name != "seals"}
    encrypted = message["seals"][0]["encrypted"]
    return {**header, "seals": [seal_of(header, json.dumps(content), KEY, encrypt=encrypted)]}


def contained(part: Any, whole: Any) -> bool:
    """Return True if `whole` has everything that `part` has, at the same places."""
    if isinstance(part, dict):
        return all(key in whole and contained(value, whole[key]) for key, value in part.items())
    if isinstance(part, list):
        return len(part) == len(whole) and all(map(contained, part, whole))
    return bool(part == whole)


@cases("body", BODIES)
def test_both_versions_read_each_message_of_the_other(body: Any, last_release: released.Version) -> None:
    """The last release ignores members that it does not know. What it does not send has a default."""
    content = body.model_dump(mode="json", by_alias=True)
    read = read_by(last_release, sealed(body, with_members(content, {"addedLater": {"any": ["value"]}})))
    assert contained(read, content)
    assert "addedLater" not in json.dumps(read)
    sent = read_by(last_release, sealed(body, content))
    assert decode(verify(sealed(body, sent), lambda _: [KEY]), type(body)) == body
