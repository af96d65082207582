"""Authentication, request bodies and errors of the compatibility surface.

Each of the two surfaces has its own switch and bearer tokens. Errors are plain text with the content type of JSON,
because existing clients expect that.
"""

import hmac
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from executions.errors import InputInvalid
from foundation import secret_reference
from foundation.api.bodies import read_body
from foundation.database.postgresql.outage import may_pass
from foundation.errors import (
    CoordinatorError,
    DatabaseUnavailable,
    LargeRequestsBusy,
    PayloadTooLarge,
    SlowRequestsBusy,
)
from foundation.secret_reference import SHORTEST_TOKEN
from releases.errors import ArtifactAltered, ArtifactMissing
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.models import SLUG, Tenant
from wire.documents.json_reader import read_object
from wire.findings import DocumentError
from wire.identity import RULE, SEGMENT_RULE, is_identifier, is_segment
from wire.messages.payload_envelopes import PayloadRefused

log = logging.getLogger(__name__)
BEARER = "Bearer "
NOT_FOUND, INVALID, UNEXPECTED = "Not Found", "Invalid request", "An unexpected error occurred"
INVALID_PAYLOAD = "Invalid request payload"
Found = TypeVar("Found")
STORED: dict[type[CoordinatorError], str] = {
    ArtifactMissing: "Stored release artifact is missing or unreadable",
    ArtifactAltered: "Stored release artifact checksum does not match registry metadata",
}
"""The texts of the protocol for what is wrong with a stored artifact."""


class Refusal(Exception):
    def __init__(self, status: int, text: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True)
class Surface:
    """One of the two surfaces. `name` is the prefix of its settings."""

    name: str
    actor: str

    @property
    def enabled(self) -> bool:
        return bool(getattr(settings, f"{self.name}_ENABLED"))

    def tenant_tokens(self, tenant_id: str) -> list[str]:
        """Return the tokens that grant access to the surface for only this tenant."""
        tokens: dict[str, list[str]] = getattr(settings, f"{self.name}_TENANT_TOKENS")
        return tokens.get(tenant_id, [])

    def tokens(self) -> list[str] | None:
        """Return the tokens that grant access for every tenant; None if their reference cannot be resolved now."""
        token, reference = (str(getattr(settings, f"{self.name}_{part}")) for part in ("TOKEN", "TOKEN_REF"))
        return _resolve(reference) if reference else [token] if token else []


ADMIN = Surface("TPF_ADMIN", "tpf-admin")
CONTROL_PLANE = Surface("TPF_CONTROL_PLANE", "tpf-control-plane")


def _resolve(reference: str) -> list[str] | None:
    """Return the tokens in the file or environment variable that `reference` names, one per line.

    Lines that are shorter than a token count as empty. Returns None if it cannot be read or contains no token.
    """
    lines = map(str.strip, (secret_reference.read(reference) or "").splitlines())
    return [line for line in lines if len(line) >= SHORTEST_TOKEN] or None


@method_decorator(csrf_exempt, name="dispatch")
class TpfView(View):
    """A view of a surface. Its methods return the response's JSON document, or raise `Refusal`.

    The methods get the path parameters without surrounding white space. With `bearer`, the request needs a token of the
    surface; other views authenticate requests themselves. With `creates_tenant`, an unknown tenant is created if
    TPF_CREATE_TENANTS is set.
    """

    surface: ClassVar[Surface]
    unavailable: ClassVar[str]
    creates_tenant: ClassVar[bool] = False
    bearer: ClassVar[bool] = True

    def dispatch(self, request: HttpRequest, *_: Any, **names: str) -> HttpResponse:
        try:
            _guard(self.surface, names)
            if self.bearer:
                _require_bearer(self.surface, self.unavailable, request, names["tenantId"].strip())
            handler = getattr(self, (request.method or "").lower(), None)
            if handler is None or request.method not in {"GET", "POST"}:
                raise Refusal(405)
            trimmed = {_snake(name): value.strip() for name, value in names.items()}
            if any("\x00" in value for value in trimmed.values()):
                raise Refusal(404)
            return JsonResponse(handler(request, **trimmed), safe=False, json_dumps_params={"ensure_ascii": False})
        except Refusal as raised:
            refusal = raised
        except CoordinatorError as error:
            # Such as a quota or an unavailable store, about which the protocol says nothing.
            refusal = Refusal(error.status, text_of_error(error))
        except Exception as error:
            log.exception("%s %s failed", request.method, request.path)
            refusal = Refusal(503, DatabaseUnavailable.title) if may_pass(error) else Refusal(500, UNEXPECTED)
        return HttpResponse(refusal.text, status=refusal.status, content_type="application/json")

    def tenant(self, tenant_id: str) -> Tenant | None:
        """Return the tenant, or None if it is unknown. Create it if the view and TPF_CREATE_TENANTS allow that."""
        tenant = Tenant.objects.filter(slug=tenant_id).first() if is_identifier(tenant_id) else None
        if tenant is not None or not (self.creates_tenant and settings.TPF_CREATE_TENANTS):
            return tenant
        try:
            SLUG(tenant_id)
        except ValidationError:
            raise Refusal(400, f"tenantId is not acceptable: {SLUG.message}") from None
        with transaction.atomic():
            tenant, created = Tenant.objects.get_or_create(slug=tenant_id, defaults={"name": tenant_id})
            if created:
                by = self.surface.actor
                audit.record(Act.TENANT_CREATE, tenant=None, actor=by, object=tenant_id)
        return tenant

    def known_tenant(self, tenant_id: str) -> Tenant:
        """Like `tenant`, but raises `Refusal` 404 instead of returning None."""
        tenant = self.tenant(tenant_id)
        if tenant is None:
            raise Refusal(404, NOT_FOUND)
        return tenant


@contextmanager
def payload_sent() -> Iterator[None]:
    """Read or submit a payload of the request. Raises `Refusal` 400 if it is invalid."""
    try:
        yield
    except (PayloadRefused, InputInvalid):
        raise Refusal(400, INVALID_PAYLOAD) from None


def or_404(row: Found | None) -> Found:
    if row is None:
        raise Refusal(404)
    return row


def text_of_error(error: CoordinatorError) -> str:
    """Return the text of the protocol for `error`, or the detail of the error if the protocol has none."""
    return STORED.get(type(error), error.detail)


def _guard(surface: Surface, names: dict[str, str]) -> None:
    if not surface.enabled:
        raise Refusal(404)
    for name, value in names.items():
        if not value.strip():
            raise Refusal(400, f"{name} is required")


def _require_bearer(surface: Surface, unavailable: str, request: HttpRequest, tenant_id: str) -> None:
    """Accept a token of the entire surface, or of the tenant in the path. Raises `Refusal` 401 or 503."""
    header = request.headers.get("Authorization", "")
    presented = header.removeprefix(BEARER).strip() if header.startswith(BEARER) else ""
    if not presented:
        raise Refusal(401)
    if _is_among(presented, surface.tenant_tokens(tenant_id)):
        return
    shared = surface.tokens()
    if shared is None:
        raise Refusal(503, unavailable)
    if not _is_among(presented, shared):
        raise Refusal(401)


def _is_among(presented: str, tokens: list[str]) -> bool:
    return any(
        hmac.compare_digest(presented.encode("utf-8", "replace"), token.strip().encode("utf-8", "replace"))
        for token in tokens
    )


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def body_of(request: HttpRequest) -> dict[str, Any] | None:
    """Return the JSON object in the body, or None if the body is empty or null. Raises `Refusal`."""
    try:
        names = request.resolver_match.kwargs if request.resolver_match else {}
        body = read_body(request, settings.MAX_REQUEST_BYTES, names.get("tenantId", ""))
    except PayloadTooLarge:
        raise Refusal(413, INVALID) from None
    except (LargeRequestsBusy, SlowRequestsBusy) as busy:
        raise Refusal(busy.status, busy.title) from None
    if body.strip() in {b"", b"null"}:
        return None
    try:
        return read_object(body, name="body", limit=settings.MAX_REQUEST_BYTES)
    except DocumentError:
        raise Refusal(400, INVALID) from None


def required_body(request: HttpRequest, missing: str) -> dict[str, Any]:
    """As `body_of`. Raises `Refusal` with the text `missing` if the body is empty or null."""
    body = body_of(request)
    if body is None:
        raise Refusal(400, missing)
    return body


def text_of(body: dict[str, Any], name: str) -> str:
    """Return a text without surrounding white space, "" if it is missing or null. Raises `Refusal` for other types."""
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise Refusal(400)
    return (value or "").strip()


def required(body: dict[str, Any], name: str, longest: int = 500) -> str:
    """Return a text member of at most `longest` characters. Raises `Refusal` if it is missing or empty."""
    value = text_of(body, name)
    if not value:
        raise Refusal(400, f"{name} is required")
    return bounded(value, name, longest)


def bounded(value: str, name: str, longest: int = 500) -> str:
    """Return `value`. Raises `Refusal` if it has more than `longest` characters."""
    if len(value) > longest:
        raise Refusal(400, f"{name} is too long")
    return value


def segment(value: str, name: str) -> str:
    """Return `value` if it is an identifier that can be a segment of a URL's path. Raises `Refusal`."""
    if not is_segment(value):
        raise Refusal(400, f"{name} {SEGMENT_RULE}")
    return value


def identifier(value: str, name: str, longest: int = 500) -> str:
    """Return `value` if it is empty or an identifier of at most `longest` characters. Raises `Refusal`."""
    if value and not is_identifier(value):
        raise Refusal(400, f"{name} {RULE}")
    return bounded(value, name, longest)


def flag_of(body: dict[str, Any], name: str) -> bool:
    """Return a boolean member, False if it is missing or null. Raises `Refusal` for any other type."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise Refusal(400)
    return bool(value)
