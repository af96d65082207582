"""The OpenAPI 3.1 document: what drf-spectacular derives, with strict types and the codes of all errors."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from drf_spectacular.openapi import AutoSchema
from rest_framework import serializers

from foundation.api.fields import Number, StrictSerializer, Text, WholeNumber
from foundation.api.problem import ProblemRenderer
from foundation.errors import (
    DatabaseUnavailable,
    InvalidRequest,
    LargeRequestsBusy,
    NotFound,
    PayloadTooLarge,
    SlowRequestsBusy,
)

Refusal = tuple[int, str]
"""The status and the code of an error."""
# The errors that occur before a view runs: for any request, for a request to a list, and for a request with a body.
ANY_REQUEST: set[Refusal] = {
    (406, "NOT_ACCEPTABLE"),
    (500, "INTERNAL_ERROR"),
    (DatabaseUnavailable.status, DatabaseUnavailable.code),
}
LIST_REQUEST: set[Refusal] = {(InvalidRequest.status, InvalidRequest.code)}
BODY_REQUEST: set[Refusal] = {
    *LIST_REQUEST,
    (PayloadTooLarge.status, PayloadTooLarge.code),
    (415, "UNSUPPORTED_MEDIA_TYPE"),
    (LargeRequestsBusy.status, LargeRequestsBusy.code),
    (SlowRequestsBusy.status, SlowRequestsBusy.code),
}

RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "required": True, "schema": {"type": "integer"}}}
# It has no `type`, because code generators turn a list of types into a class that accepts only some of them.
ANYTHING_BUT_NULL = {"not": {"type": "null"}}
# At least one character that is not white space, and no U+0000, which PostgreSQL cannot store.
NOT_BLANK = r"^[^\u0000]*[^\s\u0000][^\u0000]*$"
NO_NUL = r"^[^\u0000]*$"
PROBLEM_REFERENCE = {"$ref": "#/components/schemas/Problem"}


class ProblemSchema(AutoSchema):
    """Describes a view with the errors that it may return.

    A view names the errors of its domain call in `refusals`, which maps methods to error classes.
    """

    authenticated: ClassVar[frozenset[Refusal]] = frozenset(
        {(401, "NOT_AUTHENTICATED"), (NotFound.status, NotFound.code)}
    )
    """The errors of views that authenticate requests. Subclasses extend it."""

    def _get_response_bodies(self, direction: Literal["request", "response"] = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        return bodies | _problems(self._refusals())

    def _refusals(self) -> set[Refusal]:
        classes = set(ANY_REQUEST)
        if self.view.authentication_classes:
            classes |= self.authenticated
        if self.method in {"POST", "PUT", "PATCH"}:
            classes |= BODY_REQUEST
        elif self._is_list_view():
            classes |= LIST_REQUEST
        declared = getattr(self.view, "refusals", {}).get(self.method, ())
        return classes | {(error.status, error.code) for error in declared}

    def _get_filter_parameters(self) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super()._get_filter_parameters()  # type: ignore[no-untyped-call]
        for schema in (parameter["schema"] for parameter in parameters):
            if schema["type"] == "string" and "enum" not in schema and "format" not in schema:
                schema |= {"minLength": 1, "pattern": NO_NUL}
        return parameters

    def _map_basic_serializer(self, serializer: Any, direction: Literal["request", "response"]) -> dict[str, Any]:
        schema: dict[str, Any] = super()._map_basic_serializer(serializer, direction)  # type: ignore[no-untyped-call]
        if isinstance(serializer, StrictSerializer):
            return {**schema, **serializer.schema_rules, "additionalProperties": False}
        if direction == "response":
            # A response always has all of its members. A member without a value is null.
            return {**schema, "required": sorted(schema["properties"])}
        return schema

    def _map_serializer_field(
        self, field: Any, direction: Literal["request", "response"], bypass_extensions: bool = False
    ) -> Any:
        schema = super()._map_serializer_field(field, direction, bypass_extensions)  # type: ignore[no-untyped-call]
        if isinstance(field, serializers.JSONField):
            described = {"description": str(field.help_text)} if field.help_text else {}
            refuses_null = direction == "request" and not field.allow_null
            return {**(ANYTHING_BUT_NULL if refuses_null else {}), **described}
        if isinstance(field, serializers.FileField) and direction == "request":
            return {**schema, "format": "binary"}
        if isinstance(field, Number | WholeNumber) and field.limits:
            least, most = field.limits
            return {**schema, "minimum": least, "maximum": most}
        return schema

    def _insert_field_validators(self, field: Any, schema: dict[str, Any]) -> None:
        super()._insert_field_validators(field, schema)  # type: ignore[no-untyped-call]
        if isinstance(field, Text):
            schema["pattern"] = field.pattern or (NO_NUL if field.allow_blank else NOT_BLANK)


def _problems(refusals: Iterable[Refusal]) -> dict[str, Any]:
    """Return one response for each status, with the codes that it may have."""
    codes: dict[int, list[str]] = defaultdict(list)
    for status, code in sorted(refusals):
        codes[status].append(code)
    return {
        str(status): {
            "description": " or ".join(f"`{code}`" for code in classes),
            "content": {ProblemRenderer.media_type: {"schema": PROBLEM_REFERENCE}},
            # Not part of the schema, so that a generated client has one class for all problems.
            "x-codes": classes,
            **({"headers": RETRY_AFTER} if status == 503 else {}),
        }
        for status, classes in codes.items()
    }
