"""Strict serializer fields: types are not converted, and unknown members are rejected.

`plain_check` checks bodies without the machinery of Django REST Framework, which costs twenty times as much CPU.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeVar

from rest_framework import serializers
from rest_framework.serializers import Field, JSONField, ListField

from wire.identity import PATTERN, RULE, SEGMENT_PATTERN, SEGMENT_RULE, is_identifier, is_segment

Limits = tuple[float, float]
Row = TypeVar("Row")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


class Text(serializers.CharField):
    """A JSON string. Spaces are kept. The parser has already rejected NUL.

    `pattern` appears only in the OpenAPI document. Subclasses that set it enforce it.
    """

    pattern = ""
    default_error_messages = {"not_text": "must be a string"}

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("not_text")
        if data.isspace() and not self.allow_blank:
            self.fail("blank")
        return super().to_internal_value(data)


class Identifier(Text):
    """A string that follows the rule for identifiers (`wire.identity`)."""

    pattern = PATTERN
    default_error_messages = {"not_identifier": RULE}
    # All rules for the text except its length.
    is_valid_text = staticmethod(is_identifier)

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if not is_identifier(text):
            self.fail("not_identifier")
        return text


class SegmentIdentifier(Identifier):
    """An identifier that can be a segment of a URL path, such as a pipeline id."""

    pattern = SEGMENT_PATTERN
    default_error_messages = {"not_segment": SEGMENT_RULE}
    is_valid_text = staticmethod(is_segment)

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if not self.is_valid_text(text):
            self.fail("not_segment")
        return text


class Uuid(serializers.UUIDField):
    """A UUID as a JSON string. A number is not one."""

    default_error_messages = {"not_text": "must be a string"}

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("not_text")
        return super().to_internal_value(data)


class Moment(serializers.DateTimeField):
    """An RFC 3339 time, with an offset from UTC. The value is in UTC."""

    default_error_messages = {"not_moment": "must be an RFC 3339 time with an offset, such as 2026-11-26T12:00:00Z"}

    def to_internal_value(self, value: Any) -> datetime:
        try:
            parsed = datetime.fromisoformat(value) if isinstance(value, str) and _MOMENT.fullmatch(value) else None
            moment = parsed and parsed.astimezone(UTC)
        except (ValueError, OverflowError):  # there is no such day, or it is in no year of UTC
            moment = None
        if moment is None:
            self.fail("not_moment")
        return moment


class WholeNumber(serializers.IntegerField):
    """A JSON integer. 2.0 is an integer (JSON Schema, 6.1.1); "2" and 2.5 are not.

    `limits` appear only in the OpenAPI document. The domain enforces them.
    """

    default_error_messages = {"not_integer": "must be an integer"}

    def __init__(self, *, limits: Limits | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.limits = limits

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, float) and data.is_integer():
            return int(data)
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("not_integer")
        return super().to_internal_value(data)


class Number(serializers.FloatField):
    """A JSON number; "2.5" is not one. `limits` are those of `WholeNumber`."""

    default_error_messages = {"not_number": "must be a number"}

    def __init__(self, *, limits: Limits | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.limits = limits

    def to_internal_value(self, data: Any) -> float:
        if not isinstance(data, int | float) or isinstance(data, bool):
            self.fail("not_number")
        try:
            return float(data)
        except OverflowError:
            self.fail("not_number")


class Flag(serializers.BooleanField):
    default_error_messages = {"not_boolean": "must be true or false"}

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("not_boolean")
        return data


# Members whose names Python reserves are declared with an underscore behind the name, such as `from_`. This is no
# docstring, because the OpenAPI document shows inherited ones.
class KeywordMembers(serializers.Serializer[Row]):
    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._declared_fields = {name.removesuffix("_"): field for name, field in cls._declared_fields.items()}


class StrictSerializer(KeywordMembers[Any]):
    """A request body. Each unknown member is an error."""

    schema_rules: ClassVar[dict[str, Any]] = {}
    """JSON Schema of rules between members, for the OpenAPI document. The code that they describe enforces them."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            unknown = sorted(set(data) - set(self.fields))
            if unknown:
                raise serializers.ValidationError(
                    {
                        str(name): serializers.ErrorDetail("is not a known member", code="unknown_member")
                        for name in unknown
                    }
                )
        return super().to_internal_value(data)

    @classmethod
    def validated(cls, data: Any) -> dict[str, Any]:
        """Return the members of the request body `data`, with defaults. Raises DRF's `ValidationError`."""
        serializer = cls(data=data)
        serializer.is_valid(raise_exception=True)
        members: dict[str, Any] = serializer.validated_data
        return members


Check = Callable[[Any], bool]


def plain_check(request: StrictSerializer) -> Check:
    """Return a function that is True for bodies that `request` accepts without changing a value.

    The function is made from the fields of `request`, so the serializer stays the only definition of the request. False
    does not mean that a body is invalid: the serializer decides that, and says why.

    Raises TypeError for a field that is neither an identifier, a list of them, nor arbitrary JSON.
    """
    required = {name for name, field in request.fields.items() if field.required}
    checks = {name: _value_check(field) for name, field in request.fields.items()}

    def is_plain(body: Any) -> bool:
        if not isinstance(body, dict) or not body.keys() >= required:
            return False
        for name, value in body.items():
            check = checks.get(name)
            if check is None or not check(value):
                return False
        return True

    return is_plain


def _value_check(field: Field[Any, Any, Any, Any]) -> Check:
    if isinstance(field, Identifier):
        accepts = _identifier_check(field)
    else:
        accepts = _list_check(field) if isinstance(field, ListField) else _json_check(field)
    return (lambda value: value is None or accepts(value)) if field.allow_null else accepts


def _identifier_check(field: Identifier) -> Check:
    is_valid_text, longest = field.is_valid_text, field.max_length
    if longest is None:
        raise TypeError("an identifier needs a maximum length")
    return lambda value: isinstance(value, str) and len(value) <= longest and is_valid_text(value)


def _list_check(field: ListField) -> Check:
    accepts, longest = _value_check(field.child), field.max_length
    if longest is None:
        raise TypeError("a list needs a maximum length")
    return lambda value: isinstance(value, list) and len(value) <= longest and all(map(accepts, value))


def _json_check(field: Field[Any, Any, Any, Any]) -> Check:
    if not isinstance(field, JSONField):
        raise TypeError(f"{type(field).__name__} has no plain check")
    return lambda value: value is not None
