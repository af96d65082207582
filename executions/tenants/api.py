"""REST: the quotas of a tenant and their use."""

from typing import Any

from django.urls import path
from rest_framework import serializers

from executions.inspection.counts import use
from foundation.api.fields import StrictSerializer, WholeNumber
from tenancy.access import ScopeMissing
from tenancy.api.authentication import denial
from tenancy.api.operations import TenantView, either, operation
from tenancy.audit.acts import Act, declares
from tenancy.models import Tenant
from tenancy.quota_table import MOST_OF_A_QUOTA, QUOTAS
from tenancy.quotas import change, limits, require_staff
from tenancy.roles import Scope


class QuotaView(serializers.Serializer[Any]):
    limit = serializers.IntegerField(allow_null=True, help_text="Null: no limit.")
    used = serializers.IntegerField(allow_null=True, help_text="Null if the quota limits each request separately.")


class QuotasView(serializers.Serializer[Any]):
    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return {quota.name: QuotaView(help_text=quota.meaning) for quota in QUOTAS}


class QuotasRequest(StrictSerializer):
    """The new quotas. One that is null or omitted is no limit."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return {
            quota.name: WholeNumber(
                required=False, allow_null=True, min_value=1, max_value=MOST_OF_A_QUOTA, help_text=quota.meaning
            )
            for quota in QUOTAS
        }


@operation("tenants", "quotas", QuotasView, method="GET")
def quotas(view: TenantView) -> Any:
    """The tenant's quotas and how much of them is used."""
    return _used(Tenant.objects.get(pk=view.tenant.pk))


@operation("tenants", "changeQuotas", QuotasView, method="PUT", body=QuotasRequest)
@declares(Act.QUOTAS_CHANGE, Scope.ADMINISTER)
def change_quotas(view: TenantView, **body: int | None) -> Any:
    """Replace the tenant's quotas. Only the token of a superuser may. It takes effect within a few seconds."""
    try:
        require_staff(view.token.user)
    except ScopeMissing as refusal:
        raise denial(view, view.token, refusal) from None
    return _used(change(view.tenant, body, actor=view.actor))


def _used(tenant: Tenant) -> dict[str, Any]:
    used = use(tenant)
    return {name: {"limit": limit, "used": used[name]} for name, limit in limits(tenant).items()}


urlpatterns = [path("quotas", either(quotas, change_quotas), name="quotas")]
