"""Which values a type chooses from: the literals of a pattern, and the variants of a choice. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

_OPERATORS: Final = frozenset(".^$*+?{}[]()\\")
OBJECT, TEXT, NUMBER, BOOLEAN, NULL = "(object)", "(string)", "(number)", "(boolean)", "(null)"
"""The discriminators of variants that JSON distinguishes by their form. The variant NULL has no payload."""
_FORMS: Final = {
    OBJECT: "an object",
    TEXT: "a string",
    NUMBER: "a number",
    BOOLEAN: "a boolean",
    NULL: "null",
}


def choices_of(pattern: Any) -> list[str] | None:
    """Return the literals of a pattern that is only a choice, such as `^(?:a|b)$`; None for other patterns."""
    if not (isinstance(pattern, str) and pattern.startswith("^(?:") and pattern.endswith(")$")):
        return None
    choices = [""]
    for part in re.findall(r"\\.|.", pattern[4:-2], flags=re.DOTALL):
        if part == "|":
            choices.append("")
        elif part in _OPERATORS or (len(part) == 2 and part[1].isalnum()):
            return None
        else:
            choices[-1] += part[-1]
    return choices


def discriminator_of(tag: Any, value: Any) -> str | None:
    """Return which variant of a choice a JSON value claims to be; None for arrays, and for objects without the tag.

    An object is the variant that its member `tag` names, if the choice has a tag. Other values differ in their
    form.
    """
    if isinstance(value, Mapping):
        if not isinstance(tag, str):
            return OBJECT
        named = value.get(tag)
        return named if isinstance(named, str) and named not in _FORMS else None  # no tag is the name of a form
    if value is None:
        return NULL
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, str):
        return TEXT
    return NUMBER if isinstance(value, int | float) else None


def tags_of(variants: Iterable[str]) -> list[str]:
    """Return the discriminators that are values of the tag."""
    return [name for name in variants if name not in _FORMS]


def forms_of(variants: Iterable[str]) -> list[str]:
    """Return the forms in JSON that a choice of these discriminators accepts, in words."""
    accepted = {name if name in _FORMS else OBJECT for name in variants}
    return [phrase for form, phrase in _FORMS.items() if form in accepted]
