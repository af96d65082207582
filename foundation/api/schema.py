"""OpenAPI 3.1: what drf-spectacular derives, told as strictly as the API behaves, with every refusal by its code."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Literal

from drf_spectacular.extensions import OpenApiAuthenticationExtension
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
from tenancy.access import ScopeMissing

# Status and code of what the layers before a view refuse: of every request, of one that needs a token, has a query
# or has a body. What the view's own domain call refuses, the view names in `refusals`.
ANY = {
    (406, "NOT_ACCEPTABLE"),
    (500, "INTERNAL_ERROR"),
    (DatabaseUnavailable.status, DatabaseUnavailable.code),
}
GUARDED = {(401, "NOT_AUTHENTICATED"), (ScopeMissing.status, ScopeMissing.code), (NotFound.status, NotFound.code)}
ASKING = {(InvalidRequest.status, InvalidRequest.code)}
SENDING = {
    *ASKING,
    (PayloadTooLarge.status, PayloadTooLarge.code),
    (415, "UNSUPPORTED_MEDIA_TYPE"),
    (LargeRequestsBusy.status, LargeRequestsBusy.code),
    (SlowRequestsBusy.status, SlowRequestsBusy.code),
}

RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "required": True, "schema": {"type": "integer"}}}
# Without a `type`: code generators turn a list of types into a class that takes only some of them.
ANYTHING_BUT_NULL = {"not": {"type": "null"}}
# At least one character that is no space, and no U+0000, which PostgreSQL does not keep.
NOT_BLANK = r"^[^\u0000]*[^\s\u0000][^\u0000]*$"
NO_NUL = r"^[^\u0000]*$"
PROBLEM_REFERENCE = {"$ref": "#/components/schemas/Problem"}


class ProblemSchema(AutoSchema):
    def _get_response_bodies(self, direction: Literal["request", "response"] = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        return bodies | _problems(self._refusals())

    def _refusals(self) -> set[tuple[int, str]]:
        found = set(ANY)
        if self.view.authentication_classes:
            found |= GUARDED
        if self.method in {"POST", "PUT", "PATCH"}:
            found |= SENDING
        elif self._is_list_view():
            found |= ASKING
        own = getattr(self.view, "refusals", {}).get(self.method, ())
        return found | {(error.status, error.code) for error in own}

    def _get_filter_parameters(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = super()._get_filter_parameters()  # type: ignore[no-untyped-call]
        for schema in (parameter["schema"] for parameter in found):
            if schema["type"] == "string" and "enum" not in schema and "format" not in schema:
                schema |= {"minLength": 1, "pattern": NO_NUL}
        return found

    def _map_basic_serializer(self, serializer: Any, direction: Literal["request", "response"]) -> dict[str, Any]:
        found: dict[str, Any] = super()._map_basic_serializer(serializer, direction)  # type: ignore[no-untyped-call]
        if isinstance(serializer, StrictSerializer):
            return {**found, **serializer.schema_rules, "additionalProperties": False}
        if direction == "response":
            # An answer has each of its members always; one that has no value is null.
            return {**found, "required": sorted(found["properties"])}
        return found

    def _map_serializer_field(
        self, field: Any, direction: Literal["request", "response"], bypass_extensions: bool = False
    ) -> Any:
        found = super()._map_serializer_field(field, direction, bypass_extensions)  # type: ignore[no-untyped-call]
        if isinstance(field, serializers.JSONField):
            described = {"description": str(field.help_text)} if field.help_text else {}
            refuses_null = direction == "request" and not field.allow_null
            return {**(ANYTHING_BUT_NULL if refuses_null else {}), **described}
        if isinstance(field, serializers.FileField) and direction == "request":
            return {**found, "format": "binary"}
        if isinstance(field, Number | WholeNumber) and field.limits:
            least, most = field.limits
            return {**found, "minimum": least, "maximum": most}
        return found

    def _insert_field_validators(self, field: Any, schema: dict[str, Any]) -> None:
        super()._insert_field_validators(field, schema)  # type: ignore[no-untyped-call]
        if isinstance(field, Text):
            schema["pattern"] = NO_NUL if field.allow_blank else NOT_BLANK


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "tenancy.api.authentication.TokenAuthentication"
    name = "bearerToken"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}


def _problems(refusals: Iterable[tuple[int, str]]) -> dict[str, Any]:
    """One response for each status, which has one of the codes that belong to it here."""
    codes: dict[int, list[str]] = defaultdict(list)
    for status, code in sorted(refusals):
        codes[status].append(code)
    return {
        str(status): {
            "description": " or ".join(f"`{code}`" for code in found),
            "content": {ProblemRenderer.media_type: {"schema": PROBLEM_REFERENCE}},
            # Not part of the schema: a generated client has one class for all problems.
            "x-codes": found,
            **({"headers": RETRY_AFTER} if status == 503 else {}),
        }
        for status, found in codes.items()
    }
