"""The deployment API that `tpf deploy` calls. It registers releases and activates none."""

from functools import partial
from typing import Any

from django.conf import settings
from django.http import Http404, HttpResponse
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied, UnsupportedMediaType
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from foundation.api.bodies import read_body
from foundation.api.problem import refusal
from foundation.api.streaming import arrived_at, pause
from foundation.errors import InvalidRequest, NotFound
from releases.errors import DeploymentPending
from releases.models import KEY_LENGTH
from releases.models.pipeline import IDENTITY_LENGTH
from releases.registration.deployments import DeploymentRequest, deploy
from releases.states import Status
from tenancy import oauth
from tenancy.access import ScopeMissing, TokenInvalid, actor, require_scope
from tenancy.api.authentication import TokenAuthentication
from tenancy.audit.acts import Act, Denied, declares
from tenancy.models import ApiToken, Tenant
from tenancy.roles import Scope
from wire.documents.descriptor import MAX_DESCRIPTOR_BYTES
from wire.identity import SEGMENT_RULE, is_segment

MEDIA_TYPE = "application/vnd.tpf.pipeline-release+json"
MODE = "CUSTOMER_MANAGED"
KEY_HEADER, MODE_HEADER = "Idempotency-Key", "X-TPF-Deployment-Mode"


class BearerAuthentication(TokenAuthentication):
    """Authenticates API tokens and, if the settings name an issuer, OAuth tokens.

    `request.auth` is the API token or the `OAuthIdentity`. OAuth tokens belong to no user.
    """

    def authenticate_credentials(self, token: bytes) -> Any:
        text = token.decode("ascii", "replace")
        if not (oauth.is_enabled() and oauth.looks_like_jwt(text)):
            return super().authenticate_credentials(token)
        try:
            return None, oauth.identity(text)
        except TokenInvalid as invalid:
            raise AuthenticationFailed(invalid.detail) from None


class MayDeploy(BasePermission):
    """Permits tokens with the scope `releases:register` of the tenant to which the organization in the URL maps."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        caller: Any = request.auth
        if caller is None:
            return False
        organization = view.kwargs["organization"]
        slug = _slug(organization, view.kwargs["environment"])
        is_own = isinstance(caller, ApiToken)
        try:
            if not (caller.tenant.slug == slug if is_own else organization in caller.organizations):
                raise PermissionDenied(f"The token does not belong to the organization {organization!r}.")
            if is_own:
                require_scope(caller, Scope.REGISTER)
            elif Scope.REGISTER not in caller.scopes:
                raise ScopeMissing(f"The token needs the scope {Scope.REGISTER.value!r}.", scope=Scope.REGISTER.value)
        except (PermissionDenied, ScopeMissing) as refusal:
            # An OAuth token of another organization belongs to no tenant that this one may write to.
            raise Denied(Act.DEPLOYMENT_CREATE, caller.tenant if is_own else None, refusal) from None
        return True


@extend_schema(exclude=True)
class Deployments(APIView):
    authentication_classes = (BearerAuthentication,)
    permission_classes = (MayDeploy,)

    @property
    def actor(self) -> str:
        caller: Any = self.request.auth
        return actor(caller.user, caller) if isinstance(caller, ApiToken) else caller.actor

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if not settings.TPF_DEPLOYMENTS_ENABLED:
            raise Http404
        super().initial(request, *args, **kwargs)

    @declares(Act.DEPLOYMENT_CREATE, Scope.REGISTER)
    def post(self, request: Request, organization: str, application: str, environment: str) -> HttpResponse:
        """Register the release that the body describes, and wait for its verdict.

        Clients give up after 60 seconds. So the time to wait begins before the body and the slot of the request.
        """
        caller: Any = request.auth
        tenant = caller.tenant if isinstance(caller, ApiToken) else _tenant(_slug(organization, environment))
        wanted = DeploymentRequest(
            application=_segment("application", application),
            environment=_segment("environment", environment),
            idempotency_key=_idempotency_key(request),
            document=_document(request, tenant),
        )
        try:
            deployment = deploy(
                tenant,
                wanted,
                actor=self.actor,
                deadline=arrived_at(request._request) + settings.TPF_DEPLOYMENT_WAIT_SECONDS,
                pause=partial(pause, request._request),
            )
        except DeploymentPending as pending:
            return refusal(pending)  # DRF's handler would log it as a failure of the coordinator
        answer = {"deploymentId": str(deployment.pk), "status": Status.REGISTERED.value}
        return Response(answer, status=status.HTTP_201_CREATED)


def _slug(organization: str, environment: str) -> str:
    """Return the slug of the tenant for an organization and an environment. Raises `NotFound` and `PermissionDenied`.

    If another environment has a longer prefix of the slug, the tenant belongs to that environment, and to an
    organization with a shorter name.
    """
    prefixes = settings.TPF_DEPLOYMENT_ENVIRONMENTS
    if not prefixes:
        return organization
    if environment not in prefixes:
        raise NotFound(f"There is no environment {environment!r}.")
    slug: str = prefixes[environment] + organization
    if any(len(other) > len(prefixes[environment]) and slug.startswith(other) for other in prefixes.values()):
        raise PermissionDenied(f"The organization {organization!r} is not in the environment {environment!r}.")
    return slug


def _tenant(slug: str) -> Tenant:
    tenant = Tenant.objects.filter(slug=slug).first() if is_segment(slug) else None
    if tenant is None:
        raise NotFound(f"There is no tenant {slug!r}.")
    return tenant


def _segment(name: str, value: str) -> str:
    if len(value) > IDENTITY_LENGTH:
        raise _invalid(name, "MAX_LENGTH", f"must have at most {IDENTITY_LENGTH} characters")
    if not is_segment(value):
        raise _invalid(name, "NOT_SEGMENT", SEGMENT_RULE)
    return value


def _idempotency_key(request: Request) -> str:
    key = request.headers.get(KEY_HEADER, "").strip()
    if not key:
        raise _invalid(KEY_HEADER, "REQUIRED", "is required")
    if len(key) > KEY_LENGTH:
        raise _invalid(KEY_HEADER, "MAX_LENGTH", f"must have at most {KEY_LENGTH} characters")
    if not key.isprintable():
        raise _invalid(KEY_HEADER, "INVALID", "must be printable")
    return key


def _document(request: Request, tenant: Tenant) -> bytes:
    """Return the body. Raises `InvalidRequest` and `UnsupportedMediaType` before it is read, and `PayloadTooLarge`."""
    if request.headers.get(MODE_HEADER, "") != MODE:
        raise _invalid(MODE_HEADER, "INVALID_CHOICE", f"must be {MODE}")
    if request._request.content_type != MEDIA_TYPE:
        raise UnsupportedMediaType(request.content_type, f"The body must have the type {MEDIA_TYPE}.")
    return read_body(request._request, MAX_DESCRIPTOR_BYTES, tenant.slug)


def _invalid(field: str, code: str, rule: str) -> InvalidRequest:
    return InvalidRequest(f"{field} {rule}.", errors=[{"field": field, "code": code, "message": rule}])


urlpatterns = [
    path(
        "<str:organization>/applications/<str:application>/environments/<str:environment>/deployments",
        Deployments.as_view(),
    )
]
