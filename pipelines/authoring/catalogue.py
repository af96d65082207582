"""Type hints to the canonical types of a contract (Wire protocol A.1.3)."""

from __future__ import annotations

import dataclasses
import re
import sys
import types
import typing
from collections import abc
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

import pydantic
from pydantic.dataclasses import is_pydantic_dataclass
from pydantic.fields import FieldInfo

from pipelines.errors import DefinitionError, collected, raise_all
from wire.documents.json_writer import fingerprint
from wire.messages.limits import LONGEST_TYPE

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
_REPEATED: Final = (list, tuple, abc.Sequence)
_MAPS: Final = (dict, abc.Mapping)
_ADVICE: Final = (
    "use a dataclass, a pydantic model, a string Enum, or one of str, int, float, bool, Decimal, date, datetime, UUID"
)

TypeExpression = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Field:
    """A member of a record as it stands on the wire."""

    name: str
    hint: Any
    has_default: bool


class Catalogue:
    """The named types that a pipeline uses, collected while its hints are read."""

    def __init__(self) -> None:
        self._definitions: dict[str, dict[str, Any]] = {}

    def expression(self, hint: Any, where: str) -> TypeExpression:
        """The type expression for one value, with every named type below it entered in the catalogue.

        ``where`` starts the messages of the errors raised: ``DefinitionError`` UNSUPPORTED_TYPE,
        TYPE_NOT_IMPORTABLE, UNRESOLVED_HINT.
        """
        hint = plain(hint)
        if hint in (Any, object, dict):
            return {"id": JSON, "kind": "scalar"}
        if isinstance(hint, type) and hint in SCALARS:
            return {"id": SCALARS[hint], "kind": "scalar"}
        if typing.get_origin(hint) in _MAPS:
            return self._map(hint, where)
        if isinstance(hint, type) and _is_record(hint):
            return self._named(hint, where, self._record)
        if isinstance(hint, type) and issubclass(hint, Enum):
            return self._named(hint, where, self._enum)
        raise DefinitionError("UNSUPPORTED_TYPE", f"{where} has the type {shown(hint)}; {_ADVICE}")

    def definition(self, type_id: str) -> dict[str, Any]:
        """The definition of a named type that is in the catalogue."""
        return self._definitions[type_id]

    def canonical_types(self) -> dict[str, dict[str, Any]]:
        """The member ``canonicalTypes`` of the contract: keys sorted, each definition with its fingerprint."""
        return {
            type_id: {
                "definition": definition,
                "definitionFingerprint": fingerprint(definition),
                "runtimeClass": type_id,
            }
            for type_id, definition in sorted(self._definitions.items())
        }

    def reaches(self, expression: TypeExpression, scalar: str) -> bool:
        """Whether a value of this type may hold the given scalar somewhere."""
        seen: set[str] = set()
        waiting = [expression]
        while waiting:
            current = waiting.pop()
            if current["kind"] == "map":
                waiting.append(current["value"])
            elif current["kind"] == "scalar":
                if current["id"] == scalar:
                    return True
            elif current["id"] not in seen:
                seen.add(current["id"])
                waiting += [field["type"] for field in self._definitions[current["id"]].get("fields", ())]
        return False

    def _map(self, hint: Any, where: str) -> TypeExpression:
        key, value = typing.get_args(hint)
        if plain(key) is not str:
            raise DefinitionError(
                "UNSUPPORTED_TYPE",
                f"{where} has the type {shown(hint)}; the keys of a JSON object are str",
            )
        if plain(value) in (Any, object):
            return {"id": JSON, "kind": "scalar"}
        return {
            "key": {"id": "string", "kind": "scalar"},
            "kind": "map",
            "value": self.expression(value, where),
        }

    def _named(self, cls: type, where: str, define: abc.Callable[[type, str], dict[str, Any]]) -> TypeExpression:
        type_id = f"{cls.__module__}.{cls.__qualname__}"
        found = None if "[" in cls.__qualname__ else importable(cls.__module__, cls.__qualname__)
        if cls.__module__ == "__main__" or found is not cls:
            raise DefinitionError(
                "TYPE_NOT_IMPORTABLE",
                f"{where} has the type {type_id}, which cannot be imported under that name; define the "
                "class at the "
                "top of a module (a generic model needs a named subclass)",
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
        for field in _fields(cls, where):
            with collected(errors):
                fields.append(self._field(cls, field, where))
        raise_all(errors)
        return {
            "kind": "record",
            "fields": sorted(fields, key=lambda field: str(field["name"])),
        }

    def _field(self, cls: type, field: _Field, where: str) -> dict[str, Any]:
        where = f"{where}: field {field.name!r} of {cls.__module__}.{cls.__qualname__}"
        hint, optional = without_none(field.hint)
        item = repeated_item(hint, where)
        repeated = item is not None
        described: dict[str, Any] = {
            "name": field.name,
            "type": self.expression(item if repeated else hint, where),
        }
        if repeated:
            described["repeated"] = True
        if optional or field.has_default:
            described["optional"] = True
        return _sorted(described)

    def _enum(self, cls: type, where: str) -> dict[str, Any]:
        values = [member.value for member in typing.cast("type[Enum]", cls)]
        if not values or not all(isinstance(value, str) for value in values):
            raise DefinitionError(
                "UNSUPPORTED_TYPE",
                f"{where} has the type {shown(cls)}; an Enum needs members whose values are str",
            )
        pattern = "|".join(re.escape(value) for value in sorted(values))
        return {
            "kind": "wrapper",
            "wraps": {"id": "string", "kind": "scalar"},
            "pattern": f"^(?:{pattern})$",
        }


def plain(hint: Any) -> Any:
    """The hint without ``Annotated``, ``NewType`` and named aliases around it."""
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
    """``(X, True)`` for ``X | None``; any other hint comes back with False."""
    hint = plain(hint)
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint, False
    others = [arm for arm in typing.get_args(hint) if arm is not type(None)]
    if len(others) == len(typing.get_args(hint)):
        return hint, False
    return (plain(others[0]) if len(others) == 1 else typing.Union[tuple(others)]), True  # noqa: UP007 - built


def repeated_item(hint: Any, where: str) -> Any | None:
    """The item type when the hint is a list, a tuple of any length or a Sequence; else None."""
    if hint is list:
        return Any
    if typing.get_origin(hint) not in _REPEATED:
        return None
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        raise DefinitionError(
            "UNSUPPORTED_TYPE",
            f"{where} has the type {shown(hint)}; use tuple[T, ...], list[T] or a dataclass",
        )
    item = plain(arguments[0])
    if typing.get_origin(item) in _REPEATED or without_none(item)[1]:
        raise DefinitionError(
            "UNSUPPORTED_TYPE",
            f"{where} has the type {shown(hint)}; an item may be neither a list nor None, wrap it in a dataclass",
        )
    return item


def shown(hint: Any) -> str:
    """A hint as an author would write it."""
    if isinstance(hint, type) and typing.get_origin(hint) is None:
        return hint.__qualname__ if hint.__module__ == "builtins" else f"{hint.__module__}.{hint.__qualname__}"
    return str(hint).replace("typing.", "").replace("collections.abc.", "")


def importable(module: str, qualname: str) -> Any:
    """What ``module.qualname`` leads to, or None."""
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


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
            "the named "
            "types at the top of the module, outside of TYPE_CHECKING",
        ) from error


def _dataclass_fields(cls: type, where: str) -> list[_Field]:
    hints = typing.get_type_hints(cls, include_extras=True)
    found = []
    for field in dataclasses.fields(cls):
        if not field.init:
            raise DefinitionError(
                "UNSUPPORTED_TYPE",
                f"{where}: field {field.name!r} of {shown(cls)} has init=False, so it cannot be read "
                "back; make it "
                "a property",
            )
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        found.append(_Field(field.name, hints[field.name], has_default))
    return found


def _model_field(name: str, info: FieldInfo, where: str) -> _Field:
    written = info.serialization_alias or info.alias or name
    if (info.validation_alias or written) != written:
        raise DefinitionError(
            "UNSUPPORTED_TYPE",
            f"{where}: field {name!r} is read under another alias than it is written; give both the same alias",
        )
    return _Field(written, info.annotation, not info.is_required())


def _sorted(members: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(members.items()))
