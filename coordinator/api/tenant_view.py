"""The base of every view below `/api/v1/tenants/{tenant}/`."""

from typing import ClassVar

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from coordinator.errors import NotFound
from coordinator.tenancy.access import ScopeMissing, actor
from coordinator.tenancy.models import ApiToken, Tenant
from coordinator.tenancy.roles import Scope


class HoldsScope(BasePermission):
    """Lets a token into its own tenant alone, and only with the scope that the view names for the method.

    Another tenant is a 404, whether it exists or not.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        token = request.auth
        if not isinstance(token, ApiToken) or not isinstance(view, TenantView):
            return False
        slug = view.kwargs["tenant"]
        if token.tenant.slug != slug:
            raise NotFound(f"There is no tenant {slug!r}.")
        scope = view.scopes.get(request.method or "", Scope.READ)
        if scope.value not in token.scopes:
            raise ScopeMissing(f"The token needs the scope {scope.value!r}.", scope=scope.value)
        return True


class TenantView(APIView):
    """A view of one tenant. `scopes` names what each method needs; a method not named needs `read`."""

    scopes: ClassVar[dict[str, Scope]] = {}
    permission_classes = (HoldsScope,)

    @property
    def tenant(self) -> Tenant:
        assert isinstance(self.request.auth, ApiToken)  # noqa: S101 - HoldsScope has seen to it
        return self.request.auth.tenant

    @property
    def actor(self) -> str:
        return actor(self.request.user, self.request.auth)
