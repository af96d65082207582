"""The OpenAPI document of views that authenticate with tenants' tokens."""

from typing import ClassVar

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema

from foundation.api.schema import ProblemSchema, Refusal
from tenancy.access import ScopeMissing


class TenantSchema(ProblemSchema):
    """Adds the error of tokens that lack the scope of a view."""

    authenticated: ClassVar[frozenset[Refusal]] = ProblemSchema.authenticated | {
        (ScopeMissing.status, ScopeMissing.code)
    }


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "tenancy.api.authentication.TokenAuthentication"
    name = "bearerToken"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}
