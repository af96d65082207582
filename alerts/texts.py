"""Texts of alert channels as they are stored. Pure: the command line compares files with them."""

from typing import Any


def stored(kind: str, member: str, value: Any) -> Any:
    """Return a member of a channel without surrounding spaces, and without those between e-mail addresses."""
    if not isinstance(value, str):
        return value
    if kind == "email" and member == "address":
        return ",".join(filter(None, map(str.strip, value.split(","))))
    return value.strip()
