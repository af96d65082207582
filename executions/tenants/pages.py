"""What the page of a tenant says about its work: its quotas, what retention would remove, and its worker keys."""

from collections.abc import Callable
from dataclasses import dataclass

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from executions.console.confirmation import Confirmation, OperatorRequest, confirm
from executions.inspection.counts import use
from executions.lifecycle import retention
from executions.models import WorkerKeyChange
from executions.workers.tenant_keys import active_keys, replace_key, revoke_old_key, start_key
from foundation.admin.columns import column, moment
from foundation.plurals import counted, up_to
from tenancy import quotas
from tenancy.audit.acts import Act
from tenancy.console.base import TenantScopedAdmin, serves
from tenancy.models import Tenant
from tenancy.quota_table import QUOTAS
from tenancy.roles import Scope
from tenancy.tenant_pages import TenantAdmin
from wire.worker_keys import WorkerKey

TERMS = (1, 7, 30, 90, 365)


@column("What each retention period would remove now")
def removable_executions(tenant: Tenant) -> SafeString:
    # After a rejected form, `tenant` contains the rejected input.
    stored = Tenant.objects.values(*(kind.term for kind in retention.KINDS)).get(pk=tenant.pk)
    lines = ((f"{kind.name.capitalize()}: {_counts(tenant, kind, stored[kind.term])}",) for kind in retention.KINDS)
    return format_html_join("", "<div>{}</div>", lines)


@column("Use of the quotas")
def quota_use(tenant: Tenant) -> SafeString:
    used = use(tenant)
    # After a rejected form, `tenant` contains the rejected input.
    limits = quotas.limits(Tenant.objects.get(pk=tenant.pk))
    rows = ((quota.label.capitalize(), _of(used[quota.name], limits[quota.name])) for quota in QUOTAS)
    return format_html('<dl class="dc-facts">{}</dl>', format_html_join("", "<dt>{}</dt><dd>{}</dd>", rows))


def _of(used: int | None, limit: int | None) -> SafeString | str:
    """Return a number with its limit, and a bar if there is one."""
    if used is None:
        return "no limit" if limit is None else f"at most {limit:,} each"
    if limit is None:
        return f"{used:,}, no limit"
    share = min(100 * used // limit, 100)
    colour = "bad" if share >= 90 else "busy"
    bar = '<span class="dc-bar" role="presentation"><span class="{}" style="width: {}%"></span></span>'
    return format_html("{} of {} ({} %)" + bar, f"{used:,}", f"{limit:,}", share, colour, share)


def _counts(tenant: Tenant, kind: retention.Kind, own: int | None) -> str:
    """Return the number of executions for each term of TERMS and for the tenant's own."""
    terms = sorted({*TERMS, *([own] if own else [])})
    counts = zip(retention.over_for(tenant, kind, terms), terms, strict=True)
    return ", ".join(f"{up_to(count, retention.MOST_COUNTED)} after {counted(days, 'day')}" for count, days in counts)


CHANGES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class _Change:
    title: str
    lead: str
    icon: str
    carry_out: Callable[..., WorkerKey]
    danger: bool = False
    makes_key: bool = True


CHANGES = {
    "start": _Change(
        "Start a new worker key",
        "The current key stays active. The next page shows the new key once: give it to all workers of the tenant, "
        "then revoke the old one.",
        "add_circle",
        start_key,
    ),
    "revoke-old": _Change(
        "Revoke the old worker key",
        "Workers that still have the old key accept no more commands, and their messages are rejected.",
        "key_off",
        revoke_old_key,
        danger=True,
        makes_key=False,
    ),
    "replace": _Change(
        "Replace the worker key at once",
        "For a key that has leaked. All workers of the tenant stop until they have the new key, which the next page "
        "shows once. The transitions that they are running are repeated.",
        "gpp_bad",
        replace_key,
        danger=True,
    ),
}


@serves("<int:object_id>/worker-key/<str:change>/", Act.WORKER_KEY_CHANGE, Scope.ADMINISTER)
def change_key(pages: TenantScopedAdmin, request: HttpRequest, tenant: Tenant, change: str) -> HttpResponse:
    """Ask for confirmation of one change of the tenant's worker keys, and carry it out.

    The response to a change that makes a key shows its text. No other page does.
    """
    if change not in CHANGES:
        raise Http404
    made = CHANGES[change]

    def confirmation_for(tenant: Tenant) -> Confirmation:
        return Confirmation(
            title=made.title,
            lead=made.lead,
            button=made.title,
            icon=made.icon,
            back=reverse("admin:tenancy_tenant_change", args=[tenant.pk]),
            facts=[("Tenant", tenant.slug), ("Active keys", _ids(tenant))],
            danger=made.danger,
        )

    def carry_out(tenant: Tenant, requested: OperatorRequest) -> str | HttpResponse:
        key = made.carry_out(tenant, actor=requested.actor, reason=requested.reason)
        if made.makes_key:
            others = [key.key_id for key in active_keys(tenant.slug)[1:]]
            template = "executions/worker_key.html"
            return pages.page(request, template, title="New worker key", original=tenant, key=key, other_keys=others)
        return f"The newest worker key of {tenant.slug} is {key.key_id}."

    return confirm(pages, request, tenant, confirmation_for, carry_out)


@column("Worker keys")
def active_worker_keys(tenant: Tenant) -> SafeString:
    """Return the ids of the active keys, newest first, with links to the pages that change them.

    The old key has a link to revoke it only while two keys are active.
    """
    has_old = len(active_keys(tenant.slug)) > 1
    links = (
        (reverse("admin:tenancy_tenant_worker_key", args=[tenant.pk, name]), change.title)
        for name, change in CHANGES.items()
        if has_old or name != "revoke-old"
    )
    return format_html("{}<br>{}", _ids(tenant), format_html_join(" · ", '<a class="dc-link" href="{}">{}</a>', links))


@column("Changes of worker keys")
def worker_key_changes(tenant: Tenant) -> SafeString:
    """Return the newest changes, one per line."""
    changes = WorkerKeyChange.objects.filter(tenant=tenant).order_by("-number")[:CHANGES_SHOWN]
    lines = ((moment(change.at), change.actor, change.oldest, change.newest, change.reason) for change in changes)
    return format_html_join(SafeString("<br>"), "{} by {}: generations {} to {} are active. {}", lines) or SafeString(
        "none"
    )


def _ids(tenant: Tenant) -> str:
    return ", ".join(key.key_id for key in active_keys(tenant.slug))


TenantAdmin.extend(quota_use, removable_executions, active_worker_keys, worker_key_changes, worker_key=change_key)
