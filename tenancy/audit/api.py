"""REST: the audit log of a tenant."""

import json
from types import SimpleNamespace
from typing import Any, ClassVar

from django.http.response import HttpResponseBase
from django.urls import path
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from foundation.api.pagination import MomentFilter, StrictFilters
from foundation.api.schema import NO_NUL
from foundation.api.streaming import streamed_file
from foundation.errors import ExportTooLarge, InvalidRequest, SlowRequestsBusy
from foundation.exports import FORMATS
from tenancy.api.operations import TENANT, TenantView, listing
from tenancy.audit import chain
from tenancy.audit.acts import declares
from tenancy.models import AuditEntry
from tenancy.roles import Scope

TIMES = [
    OpenApiParameter("from", OpenApiTypes.DATETIME, description="The earliest moment."),
    OpenApiParameter("to", OpenApiTypes.DATETIME, description="The first moment after."),
]
NAME = {"type": "string", "minLength": 1, "pattern": NO_NUL}


class AuditEntryView(serializers.Serializer[AuditEntry]):
    sequence = serializers.IntegerField(help_text="The number of the entry in the tenant's chain, without gaps.")
    at = serializers.DateTimeField()
    actor = serializers.CharField()
    act = serializers.CharField()
    objectType = serializers.CharField(source="object_type")
    object = serializers.CharField()
    outcome = serializers.ChoiceField(choices=AuditEntry.Outcome.choices)
    reason = serializers.CharField()
    requestId = serializers.CharField(source="request_id")
    address = serializers.CharField()
    details = serializers.SerializerMethodField()
    previousHash = serializers.CharField(source="previous_hash")
    hash = serializers.CharField()

    def get_details(self, entry: AuditEntry) -> dict[str, Any]:
        details: dict[str, Any] = json.loads(entry.details)
        return details


class AuditFilter(filters.FilterSet):
    act = filters.CharFilter(help_text="The name of the act, such as `release.activate`.")
    actor = filters.CharFilter(help_text="Who did it, such as `user:eva` or `token:bot`.")
    object = filters.CharFilter(method="by_object", help_text="What it was done to.")
    outcome = filters.ChoiceFilter(choices=AuditEntry.Outcome.choices)
    to = MomentFilter(field_name="at", lookup_expr="lt", help_text="The first moment after.")

    def by_object(self, rows: Any, name: str, value: str) -> Any:
        return chain.exactly(rows, value)

    @classmethod
    def get_filters(cls) -> dict[str, Any]:
        """Add `from`, which is a keyword of Python."""
        since = MomentFilter(field_name="at", lookup_expr="gte", help_text="The earliest moment.")
        return {**super().get_filters(), "from": since}


class AuditExportFilter(AuditFilter):
    """The filters of exports. `format` selects no entries."""

    format = filters.ChoiceFilter(choices=[(name, name) for name in FORMATS], required=True, method="_unfiltered")

    def _unfiltered(self, queryset: Any, name: str, value: str) -> Any:
        return queryset


class NdjsonRenderer(JSONRenderer):
    """Lets clients ask for NDJSON. It renders nothing, because the lines are streamed."""

    media_type = "application/x-ndjson"


class CsvRenderer(JSONRenderer):
    """Lets clients ask for CSV. It renders nothing, because the lines are streamed."""

    media_type = "text/csv"


class ByAcceptOnly(DefaultContentNegotiation):
    settings = SimpleNamespace(URL_FORMAT_OVERRIDE=None)  # type: ignore[assignment]  # all it reads


def _ordering(view: TenantView) -> tuple[str, ...]:
    """Return an order that an index provides: that of the chain, or that of the time if a filter bounds it."""
    bounded = view.request.query_params.keys() & {"from", "to"}
    return ("-at", "-sequence") if bounded else ("-sequence",)


@listing("audit", AuditEntry, AuditEntryView, AuditFilter, ordering=property(_ordering))
@declares(None, Scope.AUDIT)
@extend_schema(parameters=TIMES)
def audit_log(view: TenantView) -> Any:
    """The tenant's audit log, newest first."""
    return chain.entries(view.tenant).select_related("tenant")


@extend_schema(parameters=[TENANT], tags=["audit"])
class AuditExport(TenantView):
    refusals: ClassVar = {"GET": (ExportTooLarge, InvalidRequest, SlowRequestsBusy)}
    renderer_classes = (NdjsonRenderer, CsvRenderer, JSONRenderer)
    content_negotiation_class = ByAcceptOnly
    filterset_class = AuditExportFilter
    queryset = AuditEntry.objects.none()

    @declares(None, Scope.AUDIT)
    @extend_schema(
        operation_id="exportAudit",
        parameters=[
            OpenApiParameter("format", str, enum=list(FORMATS), required=True),
            *(
                OpenApiParameter(name, NAME, description=AuditFilter.base_filters[name].extra["help_text"])
                for name in ("act", "actor", "object")
            ),
            OpenApiParameter("outcome", str, enum=AuditEntry.Outcome.values),
            *TIMES,
        ],
        responses={(200, media): OpenApiTypes.STR for media in FORMATS.values()},
    )
    def get(self, request: Request, tenant: str) -> HttpResponseBase:
        """The tenant's audit log, oldest first: as NDJSON, or as CSV with a line of names. 1,000,000 entries at most.

        In CSV, an apostrophe precedes what a spreadsheet could take for a formula.
        """
        entries = StrictFilters().filter_queryset(request, chain.entries(self.tenant), self)
        form = request.query_params["format"]
        lines = chain.lines(entries, form)
        return streamed_file(request._request, lines, media_type=FORMATS[form], filename=f"audit-{tenant}.{form}")


urlpatterns = [
    path("audit", audit_log, name="audit"),
    path("audit/export", AuditExport.as_view(), name="audit_export"),
]
