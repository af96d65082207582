"""Converts typed values to JSON and back, strictly. A value that is written reads back as an equal value."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import cached_property
from itertools import islice
from typing import Any, Final, Literal
from uuid import UUID

import pydantic
import pydantic_core

from pipelines.authoring.advice import shown
from pipelines.authoring.catalogue import JSON, Catalogue, TypeExpression, plain, without_none
from pipelines.errors import DefinitionError
from pipelines.failures import first_line
from wire.documents.canonical_types import Checker
from wire.documents.json_reader import DEEPEST

_SERIALIZER: Final = re.compile(r"Expected `(?P<expected>[^`]+)`.*?\[(?:field_name='(?P<field>[^']+)', )?", re.DOTALL)
_INPUT_TYPE: Final = re.compile(r"input_type=(?P<type>\w+)")
_LARGE_DECIMAL: Final = re.compile(rb"E[+-]?\d{4}|\d{6000}")
"""Finds each JSON text with a decimal that only the validator of the contract refuses, and a few others."""
_SHOWN_ERRORS: Final = 3
_PLAIN: Final = str | int | float | Decimal | date | timedelta | UUID | Enum | None
"""The Python values that have a JSON; a bool is an int, and a datetime is a date."""
_LOOSER: Final = ("choice", "date", "datetime", "decimal", "duration", "literal", "number", "uuid")
"""The types for which pydantic is laxer than the validator of the contract."""


class ValueMismatch(Exception):
    """A value that is not of its type. The text names the fields and contains no data of the value.

    ``findings`` has the path and the rule of each field, such as ``(".lines[0].sku", "...")``. The path of the whole
    value is empty. ``more`` counts the findings that it omits.
    """

    def __init__(self, *findings: tuple[str, str] | str, more: int = 0) -> None:
        self.findings = [("", finding) if isinstance(finding, str) else finding for finding in findings]
        self.more = more
        super().__init__(summary([(path.lstrip("."), rule) for path, rule in self.findings], more))


@dataclass(slots=True)
class Encoded:
    """A value as a JSON document, and as the typed value that this document decodes to."""

    document: Any
    value: Any


class ValueType:
    """The type of one value between two steps, with its codec. ``takes_none``: the value may be None.

    ``expression`` is that of a hint that the catalogue does not know. Raises ``DefinitionError`` UNSUPPORTED_TYPE and
    others.
    """

    def __init__(self, hint: Any, catalogue: Catalogue, where: str, expression: TypeExpression | None = None) -> None:
        self.hint = hint
        self.takes_none = without_none(hint)[1]
        known = catalogue.value_or_none if self.takes_none else catalogue.value
        self.expression = expression or known(hint, where)
        if self.expression["kind"] == "map" or self.expression["id"].partition("#")[0] == JSON:
            raise DefinitionError(
                "UNSUPPORTED_TYPE",
                f"{where} has the type {shown(plain(hint))}; values between steps need named fields, "
                f"write a dataclass with one field: value: {shown(plain(hint))}",
            )
        self.type_id = str(self.expression["id"])
        self._catalogue = catalogue
        self._is_looser = catalogue.reaches(self.expression, *_LOOSER)
        self._has_literals = catalogue.reaches(self.expression, "literal", "duration")
        self._has_decimals = catalogue.reaches(self.expression, "decimal")
        self._has_free_json = catalogue.reaches(self.expression, "json")
        self._has_times = self._has_free_json or catalogue.reaches(self.expression, "datetime")
        try:
            self._adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(hint)
        except Exception as error:
            raise DefinitionError(
                "UNSUPPORTED_TYPE", f"{where} has the type {shown(plain(hint))}, which pydantic rejects: {error}"
            ) from error

    def decode(self, document: Any) -> Any:
        """Return the typed value of decoded JSON.

        Decimals, dates and UUIDs are strings in JSON. Unknown members are rejected. Raises ``ValueMismatch``.
        """
        value = self._read(_json_bytes(document))
        if self._is_looser:
            self._require(document)
        return value

    def encode(self, value: Any) -> Encoded:
        """Return the JSON of a typed value, and the value that this JSON decodes to.

        Raises ``ValueMismatch`` for a value of another type, NaN, Infinity, NUL characters and lone surrogates.
        """
        plain_value = self._dump(value, mode="python") if self._has_times else None
        if self._has_free_json:
            _reject_unsafe(plain_value)
        document = self._dump(value, mode="json")
        if self._has_times:
            document = _with_exact_times(document, plain_value)
        data = _json_bytes(document)
        read = self._read(data)
        if self._has_literals or (self._has_decimals and _LARGE_DECIMAL.search(data)):
            self._require(document)
        return Encoded(document, read)

    def accept(self, value: Any) -> Encoded:
        """Return the JSON of a typed value. Its JSON is accepted too, and defaults are added.

        Raises ``ValueMismatch``.
        """
        try:
            return self.encode(value)
        except ValueMismatch:
            if not isinstance(value, dict | str | int | float):
                raise
        return self.encode(self.decode(jsonable(value)))

    def accept_all(self, values: Any) -> list[Encoded]:
        """Accept each of many values. Raises ``ValueMismatch``, which names the item."""
        if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
            raise ValueMismatch(f"it is one {type(values).__name__}; give a list")
        encoded = []
        for place, value in enumerate(values):
            try:
                encoded.append(self.accept(value))
            except ValueMismatch as mismatch:
                items = [(f"[{place}]{path}", rule) for path, rule in mismatch.findings]
                raise ValueMismatch(*items, more=mismatch.more) from None
        return encoded

    def _dump(self, value: Any, *, mode: Literal["json", "python"]) -> Any:
        try:
            # Not the adapter's methods, which pass fifteen options on. Without the warnings, a float would pass as a
            # decimal and a dict as a dataclass, because their JSON reads as one. They cost up to three microseconds.
            return self._adapter.serializer.to_python(
                value, mode=mode, by_alias=True, round_trip=True, warnings="error"
            )
        except Exception as error:
            raise self._why_not(value, error) from error

    def _why_not(self, value: Any, error: Exception) -> ValueMismatch:
        """Return why a value cannot be written.

        Reading it back gives the whole path; the serializer gives only the field.
        """
        try:
            loose = self._adapter.dump_python(value, mode="json", by_alias=True, round_trip=True, warnings="none")
            self._read(_json_bytes(loose))
        except ValueMismatch as mismatch:
            return mismatch
        except Exception as unwritable:
            foreign = next(_foreign(self._adapter.dump_python(value, by_alias=True, warnings="none")), None)
            return ValueMismatch(foreign or f"a {type(value).__qualname__} cannot be written: {first_line(unwritable)}")
        match = _SERIALIZER.search(str(error))
        if match is None:
            return ValueMismatch(first_line(error))
        received = _INPUT_TYPE.search(str(error))
        got = f", got {received['type']}" if received else ""
        return ValueMismatch((f".{match['field']}" if match["field"] else "", f"expected {match['expected']}{got}"))

    def _read(self, data: bytes) -> Any:
        try:
            return self._adapter.validator.validate_json(
                data, strict=True, extra="forbid", by_alias=True, by_name=False
            )
        except pydantic.ValidationError as error:
            errors = error.errors(include_url=False, include_context=False, include_input=False)
            shown_errors = [(_path(refused["loc"]), refused["msg"]) for refused in errors[:_SHOWN_ERRORS]]
            raise ValueMismatch(*shown_errors, more=max(len(errors) - _SHOWN_ERRORS, 0)) from error
        except Exception as error:
            raise ValueMismatch(f"{type(error).__name__}: {first_line(error)}") from error

    @cached_property
    def _checker(self) -> Checker:
        return self._catalogue.checker()

    def _require(self, document: Any) -> None:
        """Raise ``ValueMismatch`` for what the coordinator refuses, with its wording."""
        refused = list(islice(self._checker.check(self.expression, document), _SHOWN_ERRORS))
        if refused:
            raise ValueMismatch(*refused)


@dataclass(frozen=True, slots=True)
class Hinted:
    """What a hint says: the type of one item, whether there are many, and whether they are collected in a list."""

    item: ValueType
    many: bool
    collects: bool

    @property
    def text(self) -> str:
        return f"list[{self.item.type_id}]" if self.many else self.item.type_id

    def argument(self, value: Any) -> Any:
        """Return the argument of a call for a value, which is a list if there are many."""
        return iter(value) if self.many and not self.collects else value


def jsonable(value: Any) -> Any:
    """Return the JSON of a value without a declared type: dataclasses, models, and what they may contain.

    Raises ``ValueMismatch``.
    """
    try:
        document = pydantic_core.to_jsonable_python(value, by_alias=True)
    except Exception as error:
        raise ValueMismatch(f"the value cannot be written as JSON: {first_line(error)}") from error
    _json_bytes(document)
    return document


def _with_exact_times(document: Any, value: Any) -> Any:
    """Return the document of a value with times in UTC for those whose offset has seconds, which JSON times lack."""
    if isinstance(value, datetime) and isinstance(document, str):
        offset = value.utcoffset()
        if offset is None or not offset % timedelta(minutes=1):
            return document
        try:
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        except OverflowError:
            raise ValueMismatch(f"the offset {offset} has seconds, and the time cannot be written in UTC") from None
    if isinstance(value, dict) and isinstance(document, dict):
        for name, member in value.items():
            if name in document:
                document[name] = _with_exact_times(document[name], member)
    elif isinstance(value, list | tuple) and isinstance(document, list) and len(value) == len(document):
        document[:] = map(_with_exact_times, document, value)
    return document


def _json_bytes(document: Any) -> bytes:
    try:
        data = pydantic_core.to_json(document, inf_nan_mode="constants")
    except Exception as error:
        _reject_unsafe(document)
        raise ValueMismatch(f"the value cannot be written as JSON: {first_line(error)}") from error
    if b"\\u0000" in data or b"NaN" in data or b"Infinity" in data:
        _reject_unsafe(document)
    return data


def _reject_unsafe(document: Any, path: str = "", depth: int = 1) -> None:
    """Reject what JSON or PostgreSQL's jsonb cannot contain."""
    if depth > DEEPEST:
        raise ValueMismatch(f"the value nests deeper than {DEEPEST} levels")
    if isinstance(document, float) and not math.isfinite(document):
        raise ValueMismatch((path, f"{document} is not a JSON number"))
    if isinstance(document, str):
        _reject_text(document, path)
    elif isinstance(document, dict):
        for key, item in document.items():
            _reject_unsafe(key, f"{path}.<key>", depth + 1)
            _reject_unsafe(item, f"{path}.{key}", depth + 1)
    elif isinstance(document, list | tuple):
        for index, item in enumerate(document):
            _reject_unsafe(item, f"{path}[{index}]", depth + 1)


def _reject_text(text: str, path: str) -> None:
    if "\0" in text:
        raise ValueMismatch((path, "the text contains a NUL character"))
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueMismatch((path, "the text contains half of a surrogate pair")) from None


def _foreign(document: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the objects in the plain value of a type that have no JSON, such as numbers of numpy, with what to do."""
    if isinstance(document, dict):
        for name, item in document.items():
            yield from _foreign(item, f"{path}.{name}")
    elif isinstance(document, list | tuple):
        for index, item in enumerate(document):
            yield from _foreign(item, f"{path}[{index}]")
    elif not isinstance(document, _PLAIN):
        kind = f"{type(document).__module__}.{type(document).__qualname__}"
        advice = "; convert it in the step with .tolist()" if hasattr(document, "tolist") else ""
        yield path, f"a {kind} cannot be written as JSON{advice}"


def _path(parts: Iterable[int | str]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)


def summary(findings: Iterable[tuple[str, str]], more: int = 0) -> str:
    """Return findings, each with its path unless that is empty, and how many others there are, as one text."""
    lines = [f"{path}: {rule}" if path else rule for path, rule in findings]
    return "; ".join([*lines, f"and {more} more"] if more else lines)
