"""Messages as three versions of `/tpf` write them. `versions/README.md` names their sources."""

import json
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "versions"
VERSIONS = ["august", "october", "november"]
FREE = {"requestPayload", "responsePayload", "transportMetadata"}
"""Members whose own members the protocol does not name."""


def names(version: str, kind: str) -> list[str]:
    """Return the names of a version's messages of a kind: `command` and `command-…`."""
    return sorted(file.stem for file in (FOLDER / version).glob("*.json") if f"{file.stem}-".startswith(f"{kind}-"))


def message(version: str, name: str, **values: Any) -> Any:
    """Return a stored message with these values. It has exactly the members that it is stored with."""
    return with_values(json.loads((FOLDER / version / f"{name}.json").read_text()), values)


def with_values(stored: Any, values: Any) -> Any:
    if isinstance(stored, dict) and isinstance(values, dict) and stored:
        assert set(values) <= set(stored), set(values) - set(stored)
        return {name: with_values(old, values[name]) if name in values else old for name, old in stored.items()}
    if isinstance(stored, list) and isinstance(values, list) and stored:
        return [with_values(stored[0], element) for element in values]
    return values


def unread(version: str, kind: str, received: Any) -> list[str]:
    """Return the members of a received message that this version does not have. Its readers refuse such a message."""
    return list(_others(_form(version, kind), received))


@cache
def _form(version: str, kind: str) -> Any:
    form: Any = None
    for name in names(version, kind):
        form = _union(form, message(version, name))
    assert form is not None, f"{version} has no message {kind}"
    return form


def _union(form: Any, other: Any) -> Any:
    if isinstance(form, dict) and isinstance(other, dict):
        return form | {name: _union(form.get(name), value) for name, value in other.items()}
    if isinstance(form, list) and isinstance(other, list) and form and other:
        return [_union(form[0], other[0])]
    return form or other


def _others(form: Any, received: Any, path: str = "") -> list[str]:
    if isinstance(received, list) and isinstance(form, list) and form:
        return [unknown for element in received for unknown in _others(form[0], element, f"{path}[]")]
    if not (isinstance(received, dict) and isinstance(form, dict)):
        return []
    unknown = [f"{path}.{name}" for name in received if name not in form]
    for name in form.keys() & received.keys() - FREE:
        unknown += _others(form[name], received[name], f"{path}.{name}")
    return unknown
