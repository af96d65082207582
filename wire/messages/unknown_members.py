"""Members of messages over HTTP that this version does not know. Each side accepts them, and logs each name once."""

from collections.abc import Iterable

from pydantic import BaseModel

MOST_NAMES = 100
LONGEST_NAME = 100


def unknown_members(message: BaseModel) -> list[str]:
    """Return the names of the unknown members of a message and of its parts. A repeated name appears repeatedly."""
    names = list(message.model_extra or ())
    for value in vars(message).values():
        for part in value if isinstance(value, list) else (value,):
            if isinstance(part, BaseModel):
                names += unknown_members(part)
    return names


class NewNames:
    """Remembers which names were logged: at most MOST_NAMES, because senders choose them."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def among(self, names: Iterable[str]) -> list[str]:
        """Return the names that were not returned before, each once, shortened and escaped."""
        found = []
        for name in names:
            if len(self._known) >= MOST_NAMES:
                break
            escaped = ascii(name[:LONGEST_NAME])
            if escaped not in self._known:
                self._known.add(escaped)
                found.append(escaped)
        return found
