"""Translates type hints to the canonical types of a contract."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections import abc
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

import pydantic
from pydantic.dataclasses import is_pydantic_dataclass
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipelines.authoring import choices, places
from pipelines.authoring.advice import advice, default_problem, shown
from pipelines.authoring.rules import Rules
from pipelines.errors import DefinitionError, collected, placed, raise_all
from wire.documents.canonical_types import Checker
from wire.documents.choices import OBJECT
from wire.documents.json_writer import fingerprint
from wire.messages.celery_messages import LONGEST_TYPE

JSON: Final = "json"
SCALARS: Final[dict[Any, str]] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    Decimal: "decimal",
    datetime: "datetime",
    date: "date",
    UUID: "uuid",
}
_ANYTHING: Final = (Any, object)
_REPEATED: Final = (list, tuple, abc.Sequence)
_UNIONS: Final = (typing.Union, types.UnionType)
_MAPS: Final = (dict, abc.Mapping)

_STRING: Final = {"id": "string", "kind": "scalar"}

TypeExpression = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Field:
    """A member of a record, with its names in JSON and in Python."""

    name: str
    attribute: str
    hint: Any
    has_default: bool
    default: Any = dataclasses.MISSING
    info: FieldInfo | None = None


class Catalogue:
    """The named types that a pipeline uses, collected while its type hints are read.

    Without ``constraints``, the types say as little as those of builds before constraints were part of a contract.
    """

    def __init__(self, *, constraints: bool = True) -> None:
        self._definitions: dict[str, dict[str, Any]] = {}
        self._constraints = constraints
        self.records: dict[str, list[_Field]] = {}
        self.choices: dict[str, abc.Sequence[Any]] = {}
        """The values of literals and enums in the order of the author, by the ids of their types."""
        self.doubts: list[DefinitionError] = []
        """Mistakes that a build reports. Workers host releases that earlier builds made with them."""

    def value(self, hint: Any, where: str) -> TypeExpression:
        """Return the type expression for a value between steps. Raises as ``expression`` does.

        A constrained type is named after the type, with "#" and a digest of the constraints.
        """
        expression = self.expression(hint, where)
        rules, bare = (Rules.of(form) if self._constraints else None for form in (hint, plain(hint)))
        if rules is None or bare is None or "id" not in expression:
            return expression
        constraints = rules.constraints if expression["kind"] == "scalar" else {}
        if others := [rule for rule in rules.others if rule not in bare.others]:
            constraints = {**constraints, "rules": others}
        return self._constrained(
            f"{expression['id']}#{fingerprint(_sorted(constraints))[:12]}", expression, constraints
        )

    def value_or_none(self, hint: Any, where: str) -> TypeExpression:
        """Return the type expression for a value between steps that may be None. Raises as ``expression`` does."""
        bare = plain(hint)
        if typing.get_origin(bare) is typing.Literal:
            bare = typing.Optional[without_none(bare)[0]]  # noqa: UP045 - built
        return self._choice(bare, where, "", takes_none=True)

    def expression(self, hint: Any, where: str, name: str = "", rules: Rules | None = None) -> TypeExpression:
        """Return the type expression for one value, and add every named type in it to the catalogue.

        A scalar that ``rules`` constrain is a named type, ``name``. Raises ``DefinitionError`` UNSUPPORTED_TYPE,
        TYPE_NOT_IMPORTABLE or UNRESOLVED_HINT, with a message that begins with ``where``.
        """
        hint = plain(hint)
        if hint in _ANYTHING or (hint is dict and not self._constraints):
            return {"id": JSON, "kind": "scalar"}
        if hint is dict:
            hint = dict[str, Any]
        if isinstance(hint, type) and hint in SCALARS:
            constraints = rules.constraints if rules is not None else {}
            return self._constrained(name, {"id": SCALARS[hint], "kind": "scalar"}, constraints)
        if hint is timedelta:
            return self._constrained(choices.DURATION, dict(_STRING), choices.DURATION_RULES)
        if typing.get_origin(hint) in _MAPS:
            return self._map(hint, where, name, rules)
        if typing.get_origin(hint) is typing.Literal and (read := choices.literals(typing.get_args(hint))):
            scalar, values = read
            named = name or f"{scalar}#{fingerprint(values)[:12]}"
            self.choices.setdefault(named, typing.get_args(hint))
            return self._constrained(named, {"id": scalar, "kind": "scalar"}, values)
        if typing.get_origin(hint) in _UNIONS:
            return self._choice(hint, where, name, takes_none=False)
        if isinstance(hint, type) and _is_record(hint):
            return self._named(hint, where, self._record)
        if isinstance(hint, type) and issubclass(hint, Enum):
            return self._named(hint, where, self._enum)
        raise DefinitionError("UNSUPPORTED_TYPE", f"{where} has the type {shown(hint)}; {advice(hint)}")

    def record_of(
        self, name: str, members: abc.Iterable[tuple[str, TypeExpression, bool]], nullable: abc.Collection[str] = ()
    ) -> TypeExpression:
        """Add a record that no class describes. Each member has a name, a type, and whether it is repeated.

        Those in ``nullable`` may be null.
        """
        fields = [
            {"name": name, "type": expression, **({"repeated": True} if many else {})}
            | ({"nullable": True} if name in nullable else {})
            for name, expression, many in members
        ]
        fields.sort(key=lambda field: str(field["name"]))
        self._definitions[name] = _sorted({"fields": fields, "id": name, "kind": "record"})
        return {"id": name, "kind": "named"}

    def canonical_types(self) -> dict[str, dict[str, Any]]:
        """Return the contract's member ``canonicalTypes``: sorted by type, each definition with its fingerprint."""
        return {
            type_id: {
                "definition": definition,
                "definitionFingerprint": fingerprint(definition),
                "runtimeClass": type_id,
            }
            for type_id, definition in sorted(self._definitions.items())
        }

    def checker(self) -> Checker:
        """Return the validator of the types so far, which is that of the coordinator."""
        return Checker({name: {"definition": definition} for name, definition in self._definitions.items()})

    def is_within(self, given: TypeExpression, taken: TypeExpression) -> bool:
        """Return True if each value of one type is one of the other, constraints apart."""
        return choices.is_within(given, taken, self._definitions)

    def reaches(self, expression: TypeExpression, *scalars: str) -> bool:
        """Return True if a value of this type may contain a scalar, "choice", "duration" or number as "literal"."""
        visited: set[str] = set()
        waiting = [expression]
        while waiting:
            current = waiting.pop()
            if current["kind"] == "map":
                waiting.append(current["value"])
            elif current["kind"] == "scalar":
                if current["id"] in scalars:
                    return True
            elif current["id"] not in visited:
                visited.add(current["id"])
                definition = self._definitions[current["id"]]
                waiting += [field["type"] for field in definition.get("fields", ())]
                waiting += [variant["payload"] for variant in definition.get("variants", ()) if "payload" in variant]
                waiting += [definition["wraps"]] if "wraps" in definition else []
                kind = definition.get("format", "literal" if "allowedValues" in definition else definition.get("kind"))
                if kind in scalars:
                    return True
        return False

    def _constrained(self, name: str, expression: TypeExpression, constraints: dict[str, Any]) -> TypeExpression:
        if not constraints:
            return expression
        self._definitions[name] = _sorted({"id": name, "kind": "wrapper", "wraps": expression, **constraints})
        return {"id": name, "kind": "named"}

    def _map(self, hint: Any, where: str, name: str, rules: Rules | None) -> TypeExpression:
        key, value = typing.get_args(hint)
        if plain(key) is not str:
            raise DefinitionError(
                "UNSUPPORTED_TYPE",
                f"{where} has the type {shown(hint)}; the keys of a JSON object are str, use dict[str, {shown(value)}]",
            )
        if plain(value) in _ANYTHING and not self._constraints:
            return {"id": JSON, "kind": "scalar"}
        return {
            "key": {"id": "string", "kind": "scalar"},
            "kind": "map",
            "value": self.expression(value, where, name, rules and rules.item),
        }

    def _choice(self, hint: Any, where: str, name: str, *, takes_none: bool) -> TypeExpression:
        arms = []
        for arm in typing.get_args(hint):
            bare = plain(arm)
            if bare is type(None) and takes_none:
                arms.append(choices.NONE)
                continue
            is_class = isinstance(bare, type) and _is_record(bare)
            if bare is type(None) or bare is list or typing.get_origin(bare) in _REPEATED:
                raise DefinitionError("UNSUPPORTED_TYPE", f"{where} has the type {shown(hint)}; {advice(hint)}")
            expression = self.value(arm, where)
            tags = (
                choices.tags_of((field.name, plain(field.hint)) for field in _fields(bare, where)) if is_class else {}
            )
            form = OBJECT if is_class else choices.form_of(expression, self._definitions.__getitem__)
            if form is None:
                raise DefinitionError("UNSUPPORTED_TYPE", f"{where} has the type {shown(hint)}; {advice(hint)}")
            arms.append(choices.Arm(expression, form, tags))
        named = name or choices.name_of(arms)
        self._definitions[named] = _sorted({"id": named, **choices.choice(hint, arms, where)})
        return {"id": named, "kind": "named"}

    def _named(self, cls: type, where: str, define: abc.Callable[[type, str], dict[str, Any]]) -> TypeExpression:
        type_id = f"{cls.__module__}.{cls.__qualname__}"
        known = None if "[" in cls.__qualname__ else places.importable(cls.__module__, cls.__qualname__)
        if cls.__module__ == "__main__" or known is not cls:
            remedy = "define the class at the top of a module"
            if "[" in cls.__name__:
                base, _, argument = cls.__name__.removesuffix("]").partition("[")
                name = f"{argument.rpartition('.')[2].capitalize()}{base}"
                remedy = f"a generic model needs a named subclass: class {name}({cls.__name__}): ..."
            raise DefinitionError(
                "TYPE_NOT_IMPORTABLE",
                f"{where} has the type {type_id}, which cannot be imported under that name; {remedy}",
            )
        if len(type_id) > LONGEST_TYPE:
            raise DefinitionError(
                "UNSUPPORTED_TYPE",
                f"{where} has a type whose name, with its module, has more than {LONGEST_TYPE} characters; shorten it",
            )
        if type_id not in self._definitions:
            self._definitions[type_id] = {}  # a record may refer to itself
            self._definitions[type_id] = _sorted({"id": type_id, **define(cls, where)})
        return {"id": type_id, "kind": "named"}

    def _record(self, cls: type, where: str) -> dict[str, Any]:
        fields, errors = [], list[DefinitionError]()
        rules = Rules.of(cls) if self._constraints else None
        rules_of_fields = rules.fields if rules is not None else {}
        with placed(lambda: places.of_class(cls)):
            members = self.records[f"{cls.__module__}.{cls.__qualname__}"] = _fields(cls, where)
        for field in members:
            with collected(errors), placed(lambda name=field.attribute: places.of_class(cls, name)):  # type: ignore[misc]
                fields.append(self._field(cls, field, where, rules_of_fields.get(field.attribute)))
        raise_all(errors)
        described = {"kind": "record", "fields": sorted(fields, key=lambda field: str(field["name"]))}
        if rules is not None and (others := rules.others_of_class):
            described["rules"] = others
        return described

    def _field(self, cls: type, field: _Field, where: str, rules: Rules | None) -> dict[str, Any]:
        where = f"{where}: field {field.name!r} of {cls.__module__}.{cls.__qualname__}"
        hint, nullable = without_none(field.hint)
        item = repeated_item(hint, where)
        repeated = item is not None
        name = f"{cls.__module__}.{cls.__qualname__}.{field.name}"
        inner = rules.item if rules is not None and repeated else rules
        if problem := default_problem(hint, plain(hint), field.default, nullable=nullable or plain(hint) in _ANYTHING):
            place = places.of_class(cls, field.attribute)
            self.doubts.append(DefinitionError("INVALID_DEFAULT", f"{where} {problem}", place))
        described: dict[str, Any] = {
            "name": field.name,
            "type": self.expression(item if repeated else hint, where, name, inner),
        }
        if repeated:
            described["repeated"] = True
        if field.has_default or (nullable and not self._constraints):
            described["optional"] = True
        if self._constraints and nullable is not field.has_default and (repeated or plain(hint) not in _ANYTHING):
            described["nullable"] = nullable
        if rules is not None:
            described |= rules.constraints if repeated else {}
            described |= {"rules": rules.others} if rules.others else {}
        return _sorted(described)

    def _enum(self, cls: type, where: str) -> dict[str, Any]:
        members = [member.value for member in typing.cast("type[Enum]", cls)]
        self.choices[f"{cls.__module__}.{cls.__qualname__}"] = members
        literals = choices.literals(members)
        if literals is None:
            raise DefinitionError("UNSUPPORTED_TYPE", f"{where} has the type {shown(cls)}; {advice(cls)}")
        rules = Rules.of(cls) if self._constraints else None
        others = {"rules": rules.others} if rules is not None and rules.others else {}
        scalar, values = literals
        return {**others, "kind": "wrapper", "wraps": {"id": scalar, "kind": "scalar"}, **values}


def plain(hint: Any) -> Any:
    """Return the hint without ``Annotated``, ``NewType`` and named aliases around it."""
    while True:
        if typing.get_origin(hint) is typing.Annotated:
            hint = typing.get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        else:
            return hint


def without_none(hint: Any) -> tuple[Any, bool]:
    """Return ``(X, True)`` for ``X | None`` and literals with None, and any other hint with False."""
    hint = plain(hint)
    if typing.get_origin(hint) is typing.Literal and None in typing.get_args(hint):
        return typing.Literal[tuple(value for value in typing.get_args(hint) if value is not None)], True
    if typing.get_origin(hint) not in _UNIONS:
        return hint, False
    others = [arm for arm in typing.get_args(hint) if arm is not type(None)]
    if len(others) == len(typing.get_args(hint)):
        return hint, False
    return (plain(others[0]) if len(others) == 1 else typing.Union[tuple(others)]), True  # noqa: UP007 - built


def repeated_item(hint: Any, where: str) -> Any | None:
    """Return the item type of a list, a tuple of any length or a Sequence; None for other hints.

    Raises ``DefinitionError`` UNSUPPORTED_TYPE.
    """
    if hint is list:
        return Any
    if typing.get_origin(hint) not in _REPEATED:
        return None
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        raise DefinitionError(
            "UNSUPPORTED_TYPE",
            f"{where} has the type {shown(hint)}; use a dataclass with named fields, or tuple[T, ...] for many",
        )
    item = plain(arguments[0])
    if typing.get_origin(item) in _REPEATED or without_none(item)[1]:
        raise DefinitionError(
            "UNSUPPORTED_TYPE",
            f"{where} has the type {shown(hint)}; an item may be neither a list nor None, make the item a dataclass "
            f"with one field: value: {shown(item)}",
        )
    return item


def _is_record(cls: type) -> bool:
    if issubclass(cls, pydantic.RootModel):
        return False
    return dataclasses.is_dataclass(cls) or issubclass(cls, pydantic.BaseModel)


def _fields(cls: type, where: str) -> list[_Field]:
    try:
        if issubclass(cls, pydantic.BaseModel):
            cls.model_rebuild()
            return [_model_field(name, info, where) for name, info in cls.model_fields.items()]
        if is_pydantic_dataclass(cls):
            return [_model_field(name, info, where) for name, info in cls.__pydantic_fields__.items()]
        return _dataclass_fields(cls, where)
    except (NameError, pydantic.errors.PydanticUserError) as error:
        raise DefinitionError(
            "UNRESOLVED_HINT",
            f"{where}: the hints of {shown(cls)} cannot be read: {str(error).splitlines()[0]}; import "
            "the named types at the top of the module, outside of TYPE_CHECKING, or correct their names",
        ) from error


def _dataclass_fields(cls: type, where: str) -> list[_Field]:
    hints = typing.get_type_hints(cls, include_extras=True)
    named = []
    for field in dataclasses.fields(cls):
        if not field.init:
            raise DefinitionError(
                "UNSUPPORTED_TYPE",
                f"{where}: field {field.name!r} of {shown(cls)} has init=False, so it cannot be read "
                "back; make it a property",
            )
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        named.append(_Field(field.name, field.name, hints[field.name], has_default, field.default))
    return named


def _model_field(name: str, info: FieldInfo, where: str) -> _Field:
    written = info.serialization_alias or info.alias or name
    if (info.validation_alias or written) != written:
        raise DefinitionError(
            "UNSUPPORTED_TYPE",
            f"{where}: field {name!r} is read under another alias than it is written; give both the same alias",
        )
    default = dataclasses.MISSING if info.default is PydanticUndefined or info.validate_default else info.default
    return _Field(written, name, info.annotation, not info.is_required(), default, info)


def _sorted(members: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(members.items()))
