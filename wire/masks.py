"""Hides the values of secrets in texts that leave a process: log lines, messages and tracebacks. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, quote_plus

SHORTEST_SECRET: Final = 4
"""In characters. Hiding a shorter text would change ordinary words."""
SHORTEST_LINE: Final = 8
"""In characters. Shorter lines of a secret, such as the marks around a key, are not hidden alone."""
HIDDEN: Final = "[secret]"

_hidden: tuple[str, ...] = ()


def hide(secrets: Iterable[str]) -> None:
    """Hide these values from now on, in addition to earlier ones, and the lines of those that have several.

    The forms that they have in URLs, in JSON and in the text of a Python object are hidden too.
    """
    global _hidden
    texts = set(_hidden)
    for secret in secrets:
        for text in (secret, *(line for line in secret.splitlines() if len(line) >= SHORTEST_LINE)):
            texts |= {text, quote(text, safe=""), quote(text), quote_plus(text)}
            texts |= {repr(text)[1:-1], json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    _hidden = tuple(sorted((text for text in texts if len(text) >= SHORTEST_SECRET), key=len, reverse=True))


def masked(text: str) -> str:
    """Return the text with HIDDEN in place of each hidden value."""
    for secret in _hidden:
        if secret in text:
            text = text.replace(secret, HIDDEN)
    return text
