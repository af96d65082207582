"""Reads types that choose: literals, enums and unions. What a contract cannot tell apart is refused."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from pipelines.authoring.advice import advice, shown
from pipelines.errors import DefinitionError
from wire.documents.choices import BOOLEAN, NULL, NUMBER, OBJECT, TEXT
from wire.documents.json_writer import fingerprint

DURATION: Final = "duration"
_DATE: Final = r"(?:\d{1,6}Y(?:\d{1,6}W)?(?:\d{1,8}D)?|\d{1,6}W(?:\d{1,8}D)?|\d{1,8}D)"
_SECONDS: Final = r"\d{1,9}(?:\.\d{1,6})?S"
_TIME: Final = rf"(?:\d{{1,9}}H(?:\d{{1,9}}M)?(?:{_SECONDS})?|\d{{1,9}}M(?:{_SECONDS})?|{_SECONDS})"
DURATION_RULES: Final = {
    "format": DURATION,
    "pattern": f"^[+-]?P(?:{_DATE}(?:T{_TIME})?|T{_TIME})$",
    "patternSyntax": "rust",
}
"""An ISO 8601 duration as pydantic writes it. A year has 365 days, and there are no months."""
_FORMS: Final = {"string": TEXT, "integer": NUMBER, "number": NUMBER, "boolean": BOOLEAN}
_TEXTS: Final = ("decimal", "date", "datetime", "uuid")

Expression = dict[str, Any]


def literals(values: Iterable[Any]) -> tuple[str, dict[str, Any]] | None:
    """Return the scalar of literals and what a wrapper says about them; None unless all are texts or whole numbers."""
    distinct = list(dict.fromkeys(values))
    if distinct and all(isinstance(value, str) and not isinstance(value, Enum) for value in distinct):
        pattern = "|".join(re.escape(value) for value in sorted(distinct))
        return "string", {"pattern": f"^(?:{pattern})$"}
    if distinct and all(type(value) is int for value in distinct):
        return "integer", {"allowedValues": sorted(distinct)}
    return None


@dataclass(frozen=True, slots=True)
class Arm:
    """One type of a union. ``form`` is what its values are in JSON. ``tags`` are the literal fields of a class.

    ``expression`` is None for None.
    """

    expression: Expression | None
    form: str
    tags: dict[str, tuple[str, ...]]


NONE: Final = Arm(None, NULL, {})


def form_of(expression: Expression, definition: Callable[[str], dict[str, Any]]) -> str | None:
    """Return what values of an expression are in JSON; None if that is not known."""
    kind, name = expression["kind"], expression.get("id", "")
    if kind == "map":
        return OBJECT
    if kind == "named":
        defined = definition(name)
        return form_of(defined["wraps"], definition) if defined.get("kind") == "wrapper" else OBJECT
    return TEXT if name in _TEXTS else _FORMS.get(name)


def tags_of(fields: Iterable[tuple[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Return the literal texts of those fields of a class that are literals, by the name of the field in JSON."""
    tags = {}
    for name, hint in fields:
        values = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
        if values and all(type(value) is str for value in values):
            tags[name] = values
    return tags


def choice(hint: Any, arms: Sequence[Arm], where: str) -> dict[str, Any]:
    """Return the definition of a union, without its id. Raises ``DefinitionError`` UNSUPPORTED_TYPE."""
    objects = [arm for arm in arms if arm.form == OBJECT]
    others = [arm.form for arm in arms if arm.form != OBJECT]
    tag = _tag(objects) if len(objects) > 1 else None
    if len(set(others)) < len(others) or (len(objects) > 1 and tag is None):
        raise DefinitionError("UNSUPPORTED_TYPE", f"{where} has the type {shown(hint)}; {advice(hint)}")
    variants = [
        {"discriminator": name, **({"payload": arm.expression} if arm.expression else {})}
        for arm in arms
        for name in (arm.tags[tag] if tag and arm.form == OBJECT else [arm.form])
    ]
    variants.sort(key=lambda variant: str(variant["discriminator"]))
    return {"kind": "choice", "variants": variants, **({"tag": tag} if tag else {})}


def _tag(objects: Sequence[Arm]) -> str | None:
    """Return the field by whose literals all classes differ."""
    for name in objects[0].tags:
        values = [value for arm in objects for value in arm.tags.get(name, ("", ""))]
        if len(set(values)) == len(values):
            return name
    return None


def name_of(arms: Sequence[Arm]) -> str:
    """Return a name for a union that is no field: the names of its types, and a digest of their constraints."""
    names = [str(arm.expression.get("id", "map")) if arm.expression else "null" for arm in arms]
    return f"{'|'.join(name.partition('#')[0] for name in names)}#{fingerprint(names)[:12]}"


def is_within(given: Expression, taken: Expression, definitions: Mapping[str, Expression]) -> bool:
    """Return True if the types are the same, constraints apart, or ``taken`` is a choice with those of ``given``."""
    types, known = (
        {_base(variant.get("payload")) for variant in _variants(expression, definitions)}
        for expression in (given, taken)
    )
    return _base(given) == _base(taken) or types <= known


def _variants(expression: Expression, definitions: Mapping[str, Expression]) -> Sequence[Expression]:
    definition = definitions.get(expression["id"], {}) if expression["kind"] == "named" else {}
    return definition["variants"] if definition.get("kind") == "choice" else [{"payload": expression}]


def _base(expression: Expression | None) -> str:
    """Return the name of a type without its constraints. The payload of None is missing."""
    return NULL if expression is None else str(expression.get("id", "map")).partition("#")[0]
