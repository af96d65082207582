"""The tenant's page, with a preview of what retention would remove, and with the tenant's worker keys."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString

from executions.admin import worker_keys
from executions.lifecycle import retention
from foundation.admin.columns import column
from tenancy.admin.tenants import TenantAdmin
from tenancy.models import Tenant

TERMS = (1, 7, 30, 90, 365)

admin.site.unregister(Tenant)


@admin.register(Tenant)
class TenantWithRetentionAdmin(TenantAdmin):
    """Beside each term stands what it would remove, before anybody saves it."""

    def get_fields(self, request: HttpRequest, obj: Tenant | None = None) -> tuple[str, ...]:
        members = (*self.fields, "retention_days", "failed_retention_days")
        return (*members, "over", "worker_keys", "worker_key_changes") if obj else members

    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> tuple[str, ...]:
        return (*super().get_readonly_fields(request, obj), "over", "worker_keys", "worker_key_changes")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.change_worker_key)
        own = path("<int:tenant_pk>/worker-key/<str:change>/", view, name="tenancy_tenant_worker_key")
        return [own, *super().get_urls()]

    def change_worker_key(self, request: HttpRequest, tenant_pk: int, change: str) -> HttpResponse:
        return worker_keys.change_page(self, request, tenant_pk, change)

    @column("Worker keys")
    def worker_keys(self, tenant: Tenant) -> SafeString:
        return worker_keys.active(tenant)

    @column("Changes of worker keys")
    def worker_key_changes(self, tenant: Tenant) -> SafeString:
        return worker_keys.history(tenant)

    @column("Executions that a term would remove now")
    def over(self, tenant: Tenant) -> str:
        return ". ".join(f"{kind.name.capitalize()}: {_told(tenant, kind)}" for kind in retention.KINDS)


def _told(tenant: Tenant, kind: retention.Kind) -> str:
    """For each term; the tenant's own is among them."""
    # After a rejected form, `tenant` contains the rejected input.
    own: int | None = Tenant.objects.values_list(kind.term, flat=True).get(pk=tenant.pk)
    terms = sorted({*TERMS, *([own] if own else [])})
    return "; ".join(f"over {days} days ago {_count(tenant, kind, days)}" for days in terms)


def _count(tenant: Tenant, kind: retention.Kind, days: int) -> str:
    count = retention.over_for(tenant, kind, days)
    return f"{count:,}" if count <= retention.MOST_COUNTED else f"more than {retention.MOST_COUNTED:,}"
