"""The default permission of API views."""

from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from foundation.errors import NotFound
from tenancy.access import require_scope
from tenancy.models import ApiToken
from tenancy.roles import Scope

if TYPE_CHECKING:
    from rest_framework.views import APIView


class HoldsScope(BasePermission):
    """Permits a token of the tenant in the URL that holds the scope of the request's method.

    The view's `scopes` maps methods to scopes; other methods need `read`. Raises `NotFound` for another tenant,
    whether it exists or not, and `ScopeMissing`. Denies views whose URL contains no tenant.
    """

    def has_permission(self, request: Request, view: "APIView") -> bool:
        token = request.auth
        slug = view.kwargs.get("tenant")
        if not isinstance(token, ApiToken) or slug is None:
            return False
        if token.tenant.slug != slug:
            raise NotFound(f"There is no tenant {slug!r}.")
        # A response to HEAD describes what GET returns, so both need the same scope.
        method = "GET" if request.method == "HEAD" else request.method
        scope = getattr(view, "scopes", {}).get(method, Scope.READ)
        require_scope(token, scope)
        return True
