"""Secrets that a setting names instead of containing: `env:NAME` or `file:/path`."""

import os
import re
from pathlib import Path
from typing import Final

RULE: Final = "must be env:NAME or file:/path"
SHORTEST_TOKEN: Final = 16
"""How many characters a token has at least that an administrator chooses."""
_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:/[^\0]+")


def is_reference(text: str) -> bool:
    """Return True if `text` has the form of a reference. It may name nothing."""
    return _REFERENCE.fullmatch(text) is not None


def read(reference: str) -> str | None:
    """Return the text of the variable or file, as it is now; None if it cannot be read."""
    kind, _, name = reference.partition(":")
    try:
        return os.environ.get(name) if kind == "env" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError):
        return None
