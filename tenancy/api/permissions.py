"""Who may use a view of the API: by default nobody but the token of the tenant that the address names."""

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
    """Lets a token into its own tenant alone, and only with the scope that the view names for the method.

    `scopes` of the view maps methods to scopes; a method that is not there needs `read`. Another tenant is a 404,
    whether it exists or not. A view outside of any tenant is refused to everybody.
    """

    def has_permission(self, request: Request, view: "APIView") -> bool:
        token = request.auth
        slug = view.kwargs.get("tenant")
        if not isinstance(token, ApiToken) or slug is None:
            return False
        if token.tenant.slug != slug:
            raise NotFound(f"There is no tenant {slug!r}.")
        scope = getattr(view, "scopes", {}).get(request.method, Scope.READ)
        require_scope(token, scope)
        return True
