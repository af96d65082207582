"""Serializers that take requests literally: no unknown member, no coerced type."""

from collections.abc import Mapping
from typing import Any, ClassVar

from rest_framework import serializers

from wire.identifying import RULE, SEGMENT_RULE, is_identifier, is_segment

Limits = tuple[float, float]


class Text(serializers.CharField):
    """A JSON string and nothing else, with its spaces; NUL is refused by the parser already."""

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
    """A string that identifies something (`wire.identifying`)."""

    default_error_messages = {"not_identifier": RULE}
    # All rules for the text except its length.
    is_valid_text = staticmethod(is_identifier)

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if not is_identifier(text):
            self.fail("not_identifier")
        return text


class SegmentIdentifier(Identifier):
    """An identifier that is a segment of a URL's path, such as a pipeline's."""

    default_error_messages = {"not_segment": SEGMENT_RULE}
    is_valid_text = staticmethod(is_segment)

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if not self.is_valid_text(text):
            self.fail("not_segment")
        return text


class WholeNumber(serializers.IntegerField):
    """A JSON integer and nothing else: no string that reads like one, no fraction. 2.0 is one (JSON Schema, 6.1.1).

    `limits`, where the domain holds the number to some, are only for the OpenAPI document.
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
    """A JSON number and nothing else: no string that reads like one. `limits` are as for a whole number."""

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
    """true or false and nothing else."""

    default_error_messages = {"not_boolean": "must be true or false"}

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("not_boolean")
        return data


class StrictSerializer(serializers.Serializer[Any]):
    """A request body. Unknown members are rejected by name."""

    # JSON Schema of rules between members. It only describes them in the OpenAPI document.
    schema_rules: ClassVar[dict[str, Any]] = {}

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            unknown = sorted(set(data) - set(self.fields))
            if unknown:
                raise serializers.ValidationError(
                    {
                        str(name): serializers.ErrorDetail("there is no such member", code="unknown_member")
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
