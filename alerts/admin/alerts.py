"""The list of alerts, and the page of an alert with its events and messages."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone

from alerts import queries
from alerts.admin.configuration import shown
from alerts.admin.forms import HOURS, SilenceForm
from alerts.deliveries import runbook_of
from alerts.evaluation import silence
from alerts.kinds import Kind
from alerts.models import Alert
from foundation.admin.columns import badge, column
from tenancy.access import actor
from tenancy.admin.base import POST, LongList, attempt, serves
from tenancy.admin.lists import ScopedFilter, TenantFilter, text, time
from tenancy.audit.acts import Act
from tenancy.roles import Scope

VARIANTS = {"firing": "danger", "silenced": "warning", "resolved": "success"}


class AlertStateFilter(ScopedFilter):
    title = parameter_name = "state"
    options = tuple(Alert.State.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Alert]) -> QuerySet[Alert]:
        return queryset.filter(state=self.value()) if self.value() in Alert.State.values else queryset


class AlertKindFilter(ScopedFilter):
    title = parameter_name = "kind"
    options = tuple(Kind.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Alert]) -> QuerySet[Alert]:
        return queryset.filter(rule__kind=self.value()) if self.value() in Kind.values else queryset


@admin.register(Alert)
class AlertAdmin(LongList):
    empty = "No rule has found a problem. Rules are judged every 30 seconds."
    list_display = ("title", "tenant", "condition", "looks_for", "of_rule", "started", "ended")
    list_select_related = ("tenant", "rule")
    list_filter = (AlertStateFilter, AlertKindFilter, TenantFilter)
    ordering = ("-started_at", "-id")

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

    of_rule = text("Rule", "rule.name")
    started = time("Started", "started_at")
    ended = time("Resolved", "resolved_at", empty="-")

    def show(self, request: HttpRequest, row: Alert) -> HttpResponse:
        kind = Kind(row.rule.kind)
        state = self.condition(row)
        return self.page(
            request,
            "alerts/alert.html",
            title=row.title,
            original=row,
            alert=row,
            state=state,
            variant=VARIANTS[state],
            purpose=kind.purpose,
            runbook=runbook_of(kind),
            events=list(row.events.all()),
            deliveries=shown(queries.newest_deliveries(row)),
            may_silence=self.may(request, Scope.OPERATE, row),
            hours=HOURS,
        )

    @serves("<uuid:object_id>/silence/", Act.ALERT_SILENCE, Scope.OPERATE, methods=POST)
    def silence(self, request: HttpRequest, alert: Alert) -> HttpResponse:
        """Silence the alert for some hours, or end its silence."""
        form = SilenceForm(request.POST)

        def act() -> str:
            silence(alert, until=form.until, actor=actor(request.user))
            return "The alert is silenced." if form.until else "The silence has ended."

        if form.is_valid():
            attempt(request, act, "{error.detail}")
        return redirect("admin:alerts_alert_change", alert.pk)
