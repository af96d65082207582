"""The list of alerts, and the page of an alert with its events and messages."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.paginator import InfinitePaginator

from alerts import queries
from alerts.admin.channels import shown
from alerts.admin.forms import HOURS, SilenceForm
from alerts.evaluation import silence
from alerts.kinds import Kind
from alerts.messages import runbook_of
from alerts.models import Alert
from foundation.admin.columns import badge, column, timed
from foundation.errors import CoordinatorError
from tenancy.access import actor
from tenancy.admin.base import POST, ReadOnlyAdmin, serves
from tenancy.admin.lists import Person, ScopedFilter, TenantFilter
from tenancy.audit.acts import Act
from tenancy.roles import Scope

VARIANTS = {"firing": "danger", "silenced": "warning", "resolved": "success"}


class AlertStateFilter(ScopedFilter):
    title = parameter_name = "state"

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        yield from ((state.value, state.label) for state in Alert.State)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Alert]) -> QuerySet[Alert]:
        return queryset.filter(state=self.value()) if self.value() in Alert.State.values else queryset


class AlertKindFilter(ScopedFilter):
    title = parameter_name = "kind"

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        yield from ((kind.value, kind.label) for kind in Kind)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Alert]) -> QuerySet[Alert]:
        return queryset.filter(rule__kind=self.value()) if self.value() in Kind.values else queryset


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    empty = "No rule has found a problem. Rules are judged every 30 seconds."
    list_display = ("title", "tenant", "condition", "looks_for", "of_rule", "started", "ended")
    list_select_related = ("tenant", "rule")
    list_filter = (AlertStateFilter, AlertKindFilter, TenantFilter)
    ordering = ("-started_at", "-id")
    list_per_page = 50
    paginator = InfinitePaginator
    show_full_result_count = False
    sortable_by = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Alert]:
        return super().get_queryset(request).select_related("tenant", "rule")

    @badge("State", VARIANTS)
    def condition(self, alert: Alert) -> str:
        if alert.state == Alert.State.FIRING and alert.silenced_until and alert.silenced_until > timezone.now():
            return "silenced"
        return alert.state.lower()

    @column("Kind")
    def looks_for(self, alert: Alert) -> str:
        return alert.rule.get_kind_display()

    @column("Rule")
    def of_rule(self, alert: Alert) -> str:
        return alert.rule.name

    @column("Started")
    def started(self, alert: Alert) -> SafeString | None:
        return timed(alert.started_at)

    @column("Resolved", empty="-")
    def ended(self, alert: Alert) -> SafeString | None:
        return timed(alert.resolved_at)

    def show(self, request: HttpRequest, row: Alert) -> HttpResponse:
        kind = Kind(row.rule.kind)
        state = self.condition(row)
        more: dict[str, Any] = {
            "title": row.title,
            "original": row,
            "alert": row,
            "state": state,
            "variant": VARIANTS[state],
            "purpose": kind.purpose,
            "runbook": runbook_of(kind),
            "events": list(row.events.all()),
            "deliveries": shown(queries.newest_deliveries(row)),
            "may_silence": self.may(request, Scope.OPERATE, row),
            "hours": HOURS,
        }
        return self.page(request, "alerts/alert.html", **more)

    @serves("<uuid:object_id>/silence/", Act.ALERT_SILENCE, Scope.OPERATE, methods=POST)
    def silence(self, request: HttpRequest, alert: Alert) -> HttpResponse:
        """Silence the alert for some hours, or end its silence."""
        form = SilenceForm(request.POST)
        if form.is_valid():
            try:
                silence(alert, until=form.until, actor=actor(request.user))
            except CoordinatorError as error:
                messages.error(request, error.detail)
            else:
                messages.success(request, "The alert is silenced." if form.until else "The silence has ended.")
        return redirect("admin:alerts_alert_change", alert.pk)
