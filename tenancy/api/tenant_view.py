"""The base class of every view below `/api/v1/tenants/{tenant}/`, and the handler of errors, which records denials."""

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter
from drf_standardized_errors.types import ExceptionHandlerContext
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from foundation.api import problem
from foundation.errors import CoordinatorError, NotFound
from tenancy import audit
from tenancy.access import ScopeMissing, actor, require_scope
from tenancy.api.permissions import HoldsScope, denial
from tenancy.audit.acts import Denied
from tenancy.models import ApiToken, Tenant
from tenancy.roles import Scope

TENANT = OpenApiParameter("tenant", str, OpenApiParameter.PATH)


class TenantView(APIView):
    """A view of one tenant.

    Each method that changes something declares its act and its scope (`tenancy.audit.acts.declares`). Methods without
    a declaration need `read`. `refusals` maps methods to the errors that their use case raises, for the OpenAPI
    document.
    """

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
        assert isinstance(self.request.auth, ApiToken)  # noqa: S101 - not `token`, to save a call
        return self.request.auth.tenant

    def require(self, scope: Scope) -> None:
        """Raise `Denied` unless the token also holds `scope`, in addition to what the method declares."""
        try:
            require_scope(self.token, scope)
        except ScopeMissing as refusal:
            raise denial(self, self.token, refusal) from None

    @property
    def actor(self) -> str:
        token = self.token
        return actor(token.user, token)


def handle(exc: Exception, context: ExceptionHandlerContext) -> Response | None:
    """Return the response to an error in a view, and record it if it is a denial (EXCEPTION_HANDLER)."""
    if isinstance(exc, Denied):
        path, by = context["request"].path, context["view"].actor  # type: ignore[attr-defined,union-attr]  # they have them
        audit.deny(exc.act, tenant=exc.tenant, actor=by, object_type="path", object=path, reason=str(exc))
        exc = exc.refusal or exc
    return problem.handle(exc, context)
