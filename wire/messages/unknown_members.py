"""The members of messages that only later versions know, for the log of a REST worker (ADR 80)."""

from collections.abc import Iterable

from pydantic import BaseModel

MOST_NAMES = 100
LONGEST_NAME = 100


def unknown_members(message: BaseModel) -> list[str]:
    """Return the names of the unknown members of a message and of its parts, in any order. Names may repeat."""
    names: list[str] = []
    rest = [message]
    while rest:
        part = rest.pop()
        if part.__pydantic_extra__:
            names += part.__pydantic_extra__
        for value in vars(part).values():
            if isinstance(value, list):
                rest += [item for item in value if isinstance(item, BaseModel)]
            elif isinstance(value, BaseModel):
                rest.append(value)
    return names


class NewNames:
    """Remembers which names were logged: at most MOST_NAMES, because senders choose them."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def among(self, names: Iterable[str]) -> list[str]:
        """Return the names that were not returned before, each once, shortened and escaped."""
        members = []
        for name in names:
            if len(self._known) >= MOST_NAMES:
                break
            escaped = ascii(name[:LONGEST_NAME])
            if escaped not in self._known:
                self._known.add(escaped)
                members.append(escaped)
        return members
