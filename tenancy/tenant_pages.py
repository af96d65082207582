"""The pages of tenants."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar

from django.contrib import admin
from django.db import transaction
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce, Now
from django.http import HttpRequest

from foundation.admin.columns import column
from foundation.plurals import counted
from tenancy import audit
from tenancy.access import actor
from tenancy.audit.acts import Act
from tenancy.console.base import TenantScopedAdmin, View, declares_views
from tenancy.console.lists import ExportedList, text, time
from tenancy.members import USERNAME
from tenancy.models import ApiToken, Membership, Tenant
from tenancy.quota_table import QUOTAS
from tenancy.roles import Scope

Row = Callable[[Tenant], str]


def _read_once(row: Row) -> Row:
    """Return the row so that it is computed once for each object of a tenant, because the form shows it in parts."""

    @wraps(row)
    def shown(tenant: Tenant) -> str:
        name = f"_shown_{row.__name__}"
        if name not in tenant.__dict__:
            tenant.__dict__[name] = row(tenant)
        cell: str = tenant.__dict__[name]
        return cell

    return shown


@admin.register(Tenant)
@declares_views(Scope.ADMINISTER, add_view=Act.TENANT_CREATE, change_view=Act.TENANT_CHANGE)
class TenantAdmin(ExportedList, TenantScopedAdmin):
    """Superusers create and rename tenants. The slug cannot change, because URLs and queue names contain it.

    Other apps add read-only rows to a tenant's page, and pages below it, with `extend`.
    """

    tenant_path = ""
    needs = Scope.ADMINISTER
    add_label = "Add a tenant"
    empty = "A tenant owns pipelines, releases, executions, workers and tokens. Tenants share nothing."
    list_display = ("slug", "name", "member_count", "token_count", "kept", "kept_failed", "created")
    search_fields = ("slug", "name")
    search_help_text = "Search by slug or name"
    file_name = "tenants"
    exported: ClassVar = {
        "slug": lambda row: row.slug,
        "name": lambda row: row.name,
        "members": lambda row: row.members,
        "validTokens": lambda row: row.valid_tokens,
        "retentionDays": lambda row: row.retention_days,
        "failedRetentionDays": lambda row: row.failed_retention_days,
        "created": lambda row: row.created_at,
    }
    _rows: ClassVar[list[Row]] = []

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        members = Membership.objects.filter(tenant=OuterRef("pk")).order_by().values("tenant")
        tokens = ApiToken.objects.filter(tenant=OuterRef("pk"), expiry__gt=Now()).order_by().values("tenant")
        rows: QuerySet[Tenant] = super().get_queryset(request)
        return rows.annotate(
            members=Coalesce(Subquery(members.values(found=Count(USERNAME, distinct=True))), 0),
            valid_tokens=Coalesce(Subquery(tokens.values(found=Count("pk"))), 0),
        )

    @classmethod
    def extend(cls, *rows: Row, **pages: View) -> None:
        """Show `rows`, which are functions with `@column`, on each existing tenant's page, and serve `pages`."""
        cls._rows += [_read_once(row) for row in rows]
        for name, page in pages.items():
            setattr(cls, name, page)

    def get_fieldsets(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        """Show first what an existing tenant uses, and then what it may use and what is kept."""
        return [
            (None, {"fields": ("slug", "name")}),
            *([("Use and keys", {"fields": self._rows})] if obj else []),
            ("Quotas", {"fields": [quota.column for quota in QUOTAS]}),
            ("Retention", {"fields": ("retention_days", "failed_retention_days")}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        return ("slug", *self._rows) if obj else ()

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    has_change_permission = has_add_permission

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Tenant, form: Any, change: bool) -> None:
        """New tenants are in the chain of the installation, and changes in that of the tenant."""
        by = actor(request.user)
        with transaction.atomic():
            if change:
                # Other columns may have changed since the form was shown.
                obj.save(update_fields=form.changed_data)
                before = {name: form.initial.get(name) for name in form.changed_data}
                after = {name: form.cleaned_data[name] for name in form.changed_data}
                audit.record(Act.TENANT_CHANGE, tenant=obj, actor=by, object=obj.slug, before=before, after=after)
            else:
                super().save_model(request, obj, form, change)
                audit.record(Act.TENANT_CREATE, tenant=None, actor=by, object=obj.slug)

    created = time("Created", "created_at", ordering="created_at")
    member_count = text("Members", "members", ordering="members")
    token_count = text("Valid API tokens", "valid_tokens", ordering="valid_tokens")

    @column("Successes kept", ordering="retention_days")
    def kept(self, tenant: Tenant) -> str:
        return _days(tenant.retention_days)

    @column("Failures kept", ordering="failed_retention_days")
    def kept_failed(self, tenant: Tenant) -> str:
        return _days(tenant.failed_retention_days)


def _days(days: int | None) -> str:
    return "permanently" if days is None else counted(days, "day")
