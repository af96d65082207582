"""The default permission of API views."""

from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from foundation.errors import NotFound
from tenancy import audit
from tenancy.access import ScopeMissing, actor, require_scope
from tenancy.models import ApiToken
from tenancy.roles import Scope

if TYPE_CHECKING:
    from rest_framework.views import APIView


class HoldsScope(BasePermission):
    """Permits a token of the tenant in the URL that holds the scope of the request's method.

    The view's `scopes` maps methods to scopes; other methods need `read`. Raises `NotFound` for another tenant,
    whether it exists or not, and `ScopeMissing`. Such a denial is in the audit log of the token's tenant if the view's
    `acts` names the act of the method. Denies views whose URL contains no tenant.
    """

    def has_permission(self, request: Request, view: "APIView") -> bool:
        token = request.auth
        slug = view.kwargs.get("tenant")
        if not isinstance(token, ApiToken) or slug is None:
            return False
        # A response to HEAD describes what GET returns, so both need the same scope.
        method = "GET" if request.method == "HEAD" else request.method
        try:
            if token.tenant.slug != slug:
                raise NotFound(f"There is no tenant {slug!r}.")
            require_scope(token, getattr(view, "scopes", {}).get(method, Scope.READ))
        except (NotFound, ScopeMissing) as refusal:
            act = getattr(view, "acts", {}).get(method)
            if act is not None:
                by, path, reason = actor(token.user, token), request.path, refusal.detail
                audit.deny(act, tenant=token.tenant, actor=by, object_type="path", object=path, reason=reason)
            raise
        return True
