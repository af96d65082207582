"""The operations of the API, as the OpenAPI document of the coordinator describes them.

`operations.json` is taken from that document. A test compares both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

_FILE: Final = Path(__file__).with_name("operations.json")


@dataclass(frozen=True, slots=True)
class Member:
    """A parameter of a query, or a member of a body.

    `kind` is text, integer, number, boolean, moment, texts (a list of them), object (also a list of objects), or json,
    which is any value. `help` is what the document says. `choices` are the values of an enumeration.
    """

    name: str
    kind: str = "text"
    required: bool = False
    nullable: bool = False
    help: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """A method and a path below the tenant's address, such as `campaigns/{campaign_id}`."""

    method: str
    path: str
    members: Mapping[str, Member]


def operation(name: str) -> Operation:
    """Return the operation with a method and a path such as `GET campaigns/{campaign_id}`. Raises `KeyError`."""
    method, _, path = name.partition(" ")
    members: dict[str, Any] = _operations()[name]
    return Operation(method, path, {each: Member(each, **facts) for each, facts in members.items()})


@cache
def _operations() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_FILE.read_bytes())
    return found
