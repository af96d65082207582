"""The pages that start, revoke and replace a tenant's worker keys. They never show a key, only its id."""

from collections.abc import Callable
from dataclasses import dataclass

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from executions.admin.confirmation import Confirmation, OperatorRequest, confirm
from executions.models import WorkerKeyChange
from executions.workers.tenant_keys import active_keys, replace_key, revoke_old_key, start_key
from foundation.admin.columns import moment
from tenancy.admin.base import TenantScopedAdmin
from tenancy.models import Tenant
from tenancy.roles import Scope
from wire.worker_keys import WorkerKey

CHANGES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class _Change:
    title: str
    lead: str
    icon: str
    carry_out: Callable[..., WorkerKey]
    danger: bool = False


CHANGES = {
    "start": _Change(
        "Start a new worker key",
        "The current key stays active. `coordinator worker_key` prints the new key: give it to all workers of the "
        "tenant, then revoke the old one.",
        "add_circle",
        start_key,
    ),
    "revoke-old": _Change(
        "Revoke the old worker key",
        "Workers that still have the old key accept no more commands, and their messages are rejected.",
        "key_off",
        revoke_old_key,
        danger=True,
    ),
    "replace": _Change(
        "Replace the worker key at once",
        "For a key that has leaked. All workers of the tenant stop until they have the new key, which "
        "`coordinator worker_key` prints. The transitions that they are running are repeated.",
        "gpp_bad",
        replace_key,
        danger=True,
    ),
}


def change_page(pages: TenantScopedAdmin, request: HttpRequest, tenant_pk: int, name: str) -> HttpResponse:
    """Ask for confirmation of one change of the tenant's worker keys, and carry it out."""
    change = CHANGES.get(name)
    if change is None:
        raise Http404

    def confirmation_for(tenant: Tenant) -> Confirmation:
        return Confirmation(
            title=change.title,
            lead=change.lead,
            button=change.title,
            icon=change.icon,
            back=reverse("admin:tenancy_tenant_change", args=[tenant.pk]),
            facts=[("Tenant", tenant.slug), ("Active keys", _ids(tenant))],
            danger=change.danger,
        )

    def carry_out(tenant: Tenant, requested: OperatorRequest) -> str:
        key = change.carry_out(tenant, actor=requested.actor, reason=requested.reason)
        return f"The newest worker key of {tenant.slug} is {key.key_id}."

    return confirm(
        pages, request, pages.row_or_404(request, tenant_pk), confirmation_for, carry_out, scope=Scope.ADMINISTER
    )


def active(tenant: Tenant) -> SafeString:
    """Return the ids of the active keys, newest first, with links to the pages that change them."""
    links = (
        (reverse("admin:tenancy_tenant_worker_key", args=[tenant.pk, name]), change.title)
        for name, change in CHANGES.items()
    )
    return format_html("{}<br>{}", _ids(tenant), format_html_join(" · ", '<a class="dc-link" href="{}">{}</a>', links))


def history(tenant: Tenant) -> SafeString:
    """Return the newest changes, one per line."""
    changes = WorkerKeyChange.objects.filter(tenant=tenant).order_by("-number")[:CHANGES_SHOWN]
    lines = ((moment(each.at), each.actor, each.oldest, each.newest, each.reason) for each in changes)
    return format_html_join(SafeString("<br>"), "{} by {}: generations {} to {} are active. {}", lines) or SafeString(
        "none"
    )


def _ids(tenant: Tenant) -> str:
    return ", ".join(key.key_id for key in active_keys(tenant.slug))
