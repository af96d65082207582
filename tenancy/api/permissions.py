"""The default permission of API views, and what only some tokens read."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from foundation.errors import CoordinatorError, NotFound
from tenancy.access import ScopeMissing, require_scope
from tenancy.audit.acts import Declaration, Denied, declared
from tenancy.models import ApiToken
from tenancy.roles import Scope

if TYPE_CHECKING:
    from rest_framework.views import APIView


class HoldsScope(BasePermission):
    """Permits a token of the tenant in the URL that holds the scope which the view's method declares, else `read`.

    Raises `NotFound` for another tenant, whether it exists or not, and `ScopeMissing`; or `Denied` with one of these
    if the method declares an act. Denies views whose URL contains no tenant.
    """

    def has_permission(self, request: Request, view: "APIView") -> bool:
        token = request.auth
        slug = view.kwargs.get("tenant")
        if not isinstance(token, ApiToken) or slug is None:
            return False
        declaration = _declaration(request, view)
        try:
            if token.tenant.slug != slug:
                raise NotFound(f"There is no tenant {slug!r}.")
            require_scope(token, declaration.scopes[0] if declaration else Scope.READ)
        except (NotFound, ScopeMissing) as refusal:
            raise denial(view, token, refusal) from None
        return True


def denial(view: "APIView", token: ApiToken, refusal: CoordinatorError) -> Exception:
    """Return the exception to raise in place of `refusal`: `Denied` if the method of the view declares an act."""
    declaration = _declaration(view.request, view)
    if declaration is None or declaration.act is None:
        return refusal
    return Denied(declaration.act, token.tenant, refusal)


def _declaration(request: Request, view: "APIView") -> Declaration | None:
    # `view.head` is `view.get`, because a response to HEAD describes what GET returns.
    return declared(getattr(view, str(request.method).lower(), None))


WITHHELD = "Null if the token lacks the scope `payloads:read`."


def withhold(members: Collection[str], shown: dict[str, Any], context: Mapping[str, Any], *also: Scope) -> None:
    """Set `members` of a representation to null if the token of the request lacks the scope `payloads:read`.

    A token with one of the scopes in `also` gets them too.
    """
    if not holds_any(context["request"].auth, Scope.PAYLOADS, *also):
        shown.update(dict.fromkeys(members))


def holds_any(token: Any, *scopes: Scope) -> bool:
    """Return True if `token` is a token that may use one of `scopes`."""
    return isinstance(token, ApiToken) and not token.usable_scopes.isdisjoint(scopes)
