"""Extends the tenant's page with a preview of what retention would remove, and with the tenant's worker keys."""

from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from executions.admin import worker_keys
from executions.inspection.quota_use import use
from executions.lifecycle import retention
from foundation.admin.columns import column
from tenancy import quotas
from tenancy.admin.tenants import TenantAdmin
from tenancy.models import Tenant
from tenancy.quota_table import QUOTAS

TERMS = (1, 7, 30, 90, 365)


@column("What each retention period would remove now")
def removable_executions(tenant: Tenant) -> str:
    return ". ".join(f"{kind.name.capitalize()}: {_counts(tenant, kind)}" for kind in retention.KINDS)


@column("Use of the quotas")
def quota_use(tenant: Tenant) -> SafeString:
    used = use(tenant)
    # After a rejected form, `tenant` contains the rejected input.
    limits = quotas.limits(Tenant.objects.get(pk=tenant.pk))
    rows = ((quota.label.capitalize(), _of(used[quota.name], limits[quota.name])) for quota in QUOTAS)
    return format_html_join("", "<div>{}: {}</div>", rows)


def _of(used: int | None, limit: int | None) -> SafeString | str:
    """Return a number with its limit, and a bar if there is one."""
    if used is None:
        return "no limit" if limit is None else f"at most {limit:,} each"
    if limit is None:
        return f"{used:,}, no limit"
    share = min(100 * used // limit, 100)
    colour = "bad" if share >= 90 else "busy"
    bar = '<span class="dc-bar" role="presentation"><span class="{}" style="width: {}%"></span></span>'
    return format_html("{} of {} ({}%)" + bar, f"{used:,}", f"{limit:,}", share, colour, share)


@column("Worker keys")
def active_worker_keys(tenant: Tenant) -> SafeString:
    return worker_keys.active(tenant)


@column("Changes of worker keys")
def worker_key_changes(tenant: Tenant) -> SafeString:
    return worker_keys.history(tenant)


def worker_key_urls(pages: TenantAdmin) -> list[URLPattern]:
    def change(request: HttpRequest, tenant_pk: int, change: str) -> HttpResponse:
        return worker_keys.change_page(pages, request, tenant_pk, change)

    view = pages.admin_site.admin_view(change)
    return [path("<int:tenant_pk>/worker-key/<str:change>/", view, name="tenancy_tenant_worker_key")]


def _counts(tenant: Tenant, kind: retention.Kind) -> str:
    """Return the number of executions for each term of TERMS and for the tenant's own."""
    # After a rejected form, `tenant` contains the rejected input.
    own: int | None = Tenant.objects.values_list(kind.term, flat=True).get(pk=tenant.pk)
    terms = sorted({*TERMS, *([own] if own else [])})
    return ", ".join(f"{_count(tenant, kind, days)} after {days} {'day' if days == 1 else 'days'}" for days in terms)


def _count(tenant: Tenant, kind: retention.Kind, days: int) -> str:
    count = retention.over_for(tenant, kind, days)
    return f"{count:,}" if count <= retention.MOST_COUNTED else f"more than {retention.MOST_COUNTED:,}"


TenantAdmin.extend((quota_use, removable_executions, active_worker_keys, worker_key_changes), worker_key_urls)
