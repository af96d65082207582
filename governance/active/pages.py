"""The page "What was active?": the active releases of all pipelines of a tenant at a time, with the signed export."""

from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef
from django.http import Http404, HttpRequest, HttpResponse

from foundation import moments, past_times
from foundation.errors import CoordinatorError
from releases import active_then
from releases.api import active_file
from releases.errors import NoneActiveThen, ProvenanceKeyMissing, TimeInFuture
from releases.models import Pipeline
from releases.trust import trust
from tenancy.access import tenants_of
from tenancy.console.base import READ, ReadOnlyAdmin, serves
from tenancy.models import Tenant

MOST_TENANTS = 200


@serves("active/", methods=READ, name="active")
def show(pages: ReadOnlyAdmin, request: HttpRequest) -> HttpResponse:
    tenant = _tenant(request)
    listed = tenants_of(request.user).order_by("slug")[:MOST_TENANTS]
    tenants = sorted({tenant, *listed}, key=lambda listed_tenant: listed_tenant.slug)
    return pages.page(
        request,
        "releases/active.html",
        title="What was active?",
        tenant=tenant,
        tenants=tenants,
        is_signed=trust.has_statement_key(),
        **_found(tenant, request.GET.get("at", "").strip()),
    )


@serves("active.dsse.json", methods=READ, name="active_export")
def export(pages: ReadOnlyAdmin, request: HttpRequest) -> HttpResponse:
    """Download the signed document. Without a key, or an active release, it does not exist."""
    tenant = _tenant(request)
    try:
        return active_file(tenant, _read(request.GET.get("at", "").strip()))
    except (ValueError, OverflowError, NoneActiveThen, ProvenanceKeyMissing, TimeInFuture):
        raise Http404 from None


def _tenant(request: HttpRequest) -> Tenant:
    """Return the tenant that the query names, by default the first one that has pipelines, or else the first one.

    Raises `Http404` for one that is not seen.
    """
    tenants, named = tenants_of(request.user), request.GET.get("tenant")
    ordered = tenants.order_by(Exists(Pipeline.objects.filter(tenant=OuterRef("pk"))).desc(), "slug")
    tenant = None if "\0" in (named or "") else (tenants.filter(slug=named) if named else ordered).first()
    if tenant is None:
        raise Http404
    return tenant


def _read(text: str) -> datetime | None:
    return moments.read_past(text) if text else None


def _found(tenant: Tenant, text: str) -> dict[str, Any]:
    """Return what was active at the time that the user asks for, by default now, or why there is no answer."""
    try:
        return {"asked_at": text, "found": active_then.all_active_at(tenant, _read(text))}
    except (ValueError, OverflowError) as error:
        return {"asked_at": text, "refusal": f"It {past_times.rule_of(error)}."}
    except CoordinatorError as error:
        return {"asked_at": text, "refusal": error.detail}
