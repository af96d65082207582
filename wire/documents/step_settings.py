"""The names of the config and the secrets that a pipeline needs from its workers, as an artifact declares them. Pure.

A declaration has names and types, and never a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from wire.documents.json_reader import shown

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
KINDS: Final = ("text", "integer", "number", "boolean")
SECRET: Final = "text"  # noqa: S105 - the type of all secrets
MOST_NAMES: Final = 100


def wrong_config(member: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the member `config`."""
    yield from _wrong(member, KINDS)


def wrong_secrets(member: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the member `secrets`."""
    yield from _wrong(member, (SECRET,))


def _wrong(member: Mapping[str, Any], kinds: tuple[str, ...]) -> Iterator[str]:
    if len(member) > MOST_NAMES:
        yield f"it has more than {MOST_NAMES} names"
        return
    for name, kind in member.items():
        if not NAME.fullmatch(name):
            yield f"{shown(name)} is not the name of an environment variable"
        elif kind not in kinds:
            yield f"{shown(name)} has the type {shown(kind)}; a type is one of {', '.join(kinds)}"
