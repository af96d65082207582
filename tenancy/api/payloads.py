"""Members of responses that only tokens with the scope `payloads:read` get. Others get null in their place."""

from collections.abc import Collection, Mapping
from typing import Any

from tenancy.models import ApiToken
from tenancy.roles import Scope

HELP = "Null if the token lacks the scope `payloads:read`."


def withhold(members: Collection[str], shown: dict[str, Any], context: Mapping[str, Any], *also: Scope) -> None:
    """Set `members` of a representation to null if the token of the request lacks the scope `payloads:read`.

    A token with one of the scopes in `also` gets them too.
    """
    if not holds_any(context["request"].auth, Scope.PAYLOADS, *also):
        shown.update(dict.fromkeys(members))


def holds_any(token: Any, *scopes: Scope) -> bool:
    """Return True if `token` is a token that may use one of `scopes`."""
    return isinstance(token, ApiToken) and not token.usable_scopes.isdisjoint(scopes)
