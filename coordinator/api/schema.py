"""OpenAPI 3.1: what drf-spectacular derives, with the one error shape on every operation."""

from typing import Any, Literal

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema


class ProblemSchema(AutoSchema):
    def _get_response_bodies(self, direction: Literal["request", "response"] = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        bodies["default"] = {"description": "A refusal.", "content": problem}
        return bodies


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "coordinator.api.authentication.TokenAuthentication"
    match_subclasses = True
    name = "bearerToken"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}
