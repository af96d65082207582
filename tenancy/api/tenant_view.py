"""The base class of every view below `/api/v1/tenants/{tenant}/`."""

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.views import APIView

from foundation.errors import CoordinatorError, NotFound
from tenancy.access import actor
from tenancy.api.permissions import HoldsScope
from tenancy.models import ApiToken, Tenant
from tenancy.roles import Scope

TENANT = OpenApiParameter("tenant", str, OpenApiParameter.PATH)


class TenantView(APIView):
    """A view of one tenant.

    `scopes` maps methods to the scope that they need; other methods need `read`. `refusals` maps methods to the errors
    that their use case raises, for the OpenAPI document. `acts` maps methods to the names that denied requests have in
    the audit log.
    """

    scopes: ClassVar[dict[str, Scope]] = {}
    acts: ClassVar[dict[str, str]] = {}
    refusals: ClassVar[dict[str, tuple[type[CoordinatorError], ...]]] = {}
    permission_classes = (HoldsScope,)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        # PostgreSQL rejects this character, so no name contains it.
        if any("\x00" in str(name) for name in kwargs.values()):
            raise NotFound("No name contains the character U+0000.")

    @property
    def token(self) -> ApiToken:
        assert isinstance(self.request.auth, ApiToken)  # noqa: S101 - HoldsScope checks it
        return self.request.auth

    @property
    def tenant(self) -> Tenant:
        return self.token.tenant

    @property
    def actor(self) -> str:
        return actor(self.token.user, self.token)
