"""REST: the quotas of a tenant and their use."""

from typing import Any

from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from executions.tenants.quota_use import use
from foundation.api.fields import StrictSerializer, WholeNumber
from tenancy import quotas
from tenancy.access import ScopeMissing
from tenancy.api.permissions import denial
from tenancy.api.tenant_view import TENANT, TenantView
from tenancy.audit.acts import Act, declares
from tenancy.models import Tenant
from tenancy.quota_table import MOST_OF_A_QUOTA, QUOTAS
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


@extend_schema(parameters=[TENANT], tags=["tenants"])
class Quotas(TenantView):
    @extend_schema(operation_id="quotas", responses=QuotasView)
    def get(self, request: Request, tenant: str) -> Response:
        """The tenant's quotas and how much of them is used."""
        return Response(_shown(Tenant.objects.get(pk=self.tenant.pk)))

    @declares(Act.QUOTAS_CHANGE, Scope.ADMINISTER)
    @extend_schema(operation_id="changeQuotas", request=QuotasRequest, responses=QuotasView)
    def put(self, request: Request, tenant: str) -> Response:
        """Replace the tenant's quotas. Only the token of a superuser may. It takes effect within a few seconds."""
        body = QuotasRequest(data=request.data)
        body.is_valid(raise_exception=True)
        try:
            quotas.require_staff(self.token.user)
        except ScopeMissing as refusal:
            raise denial(self, self.token, refusal) from None
        return Response(_shown(quotas.change(self.tenant, body.validated_data, actor=self.actor)))


def _shown(tenant: Tenant) -> dict[str, Any]:
    used, limits = use(tenant), quotas.limits(tenant)
    return QuotasView({name: {"limit": limits[name], "used": used[name]} for name in limits}).data


urlpatterns = [path("quotas", Quotas.as_view(), name="quotas")]
