"""The pages of channels and rules, and the forms that add, change and remove one."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone

from alerts import channels, deliveries, evaluation, rules
from alerts.deliveries import runbook_of
from alerts.forms import HOURS, ChannelForm, RuleForm, SilenceForm
from alerts.kinds import Kind
from alerts.models import Alert, AlertChannel, AlertRule
from alerts.recoveries import recovery_path
from foundation.admin.columns import badge, column
from tenancy.access import actor
from tenancy.audit.acts import Act
from tenancy.console.base import POST, LongList, attempt, serves
from tenancy.console.configuration import ConfigurationAdmin
from tenancy.console.lists import MESSAGE_VARIANTS, ConditionFilter, TenantFilter, text, time
from tenancy.roles import Scope


def shown(rows: Sequence[Any]) -> list[tuple[Any, str]]:
    """Return messages, each with the variant of its state."""
    return [(row, MESSAGE_VARIANTS[row.state]) for row in rows]


@admin.register(AlertChannel)
class AlertChannelAdmin(ConfigurationAdmin):
    empty = "Channels tell people about alerts: webhooks, e-mail and Slack. Add one, look at its test, and add rules."
    list_display = ("name", "tenant", "type", "to", "state", "created_by")
    list_select_related = ("tenant",)
    form_type = ChannelForm
    discard = staticmethod(channels.remove)
    noun = "channel"
    consequence = "Its rules stop using it. Messages that are not sent yet fail. It cannot be restored."
    lead = "A channel tells people about alerts. Rules name the channels that they use."
    added = "{name} is added. A test message is on its way, and this page shows its result."

    @column("Kind")
    def type(self, channel: AlertChannel) -> str:
        return channel.get_kind_display()

    @column("Address", empty="-")
    def to(self, channel: AlertChannel) -> str | None:
        return channel.shown_address or None

    @badge("State", {"enabled": "success", "disabled": "default"})
    def state(self, channel: AlertChannel) -> str:
        return "enabled" if channel.enabled else "disabled"

    new = serves("new/", Act.ALERT_CHANNEL_ADD, Scope.ACTIVATE)(ConfigurationAdmin.new)
    edit = serves("<uuid:object_id>/edit/", Act.ALERT_CHANNEL_CHANGE, Scope.ACTIVATE)(ConfigurationAdmin.edit)
    remove = serves("<uuid:object_id>/remove/", Act.ALERT_CHANNEL_REMOVE, Scope.ACTIVATE)(ConfigurationAdmin.remove)

    def show(self, request: HttpRequest, row: AlertChannel) -> HttpResponse:
        return self.page(
            request,
            "alerts/channel.html",
            title=row.name,
            original=row,
            channel=row,
            rules=list(row.rules.filter(removed_at=None).order_by("name", "pk")),
            deliveries=shown(sent := deliveries.newest(row)),
            waits=any(delivery.state == delivery.State.PENDING for delivery in sent),
            notifications=shown(deliveries.newest_notifications(row)),
            may_change=self.has_scope(request, Scope.ACTIVATE, row),
        )

    @serves("<uuid:object_id>/test/", Act.ALERT_CHANNEL_TEST, Scope.ACTIVATE, methods=POST)
    def test(self, request: HttpRequest, channel: AlertChannel) -> HttpResponse:
        def send() -> str:
            deliveries.test(channel, actor=actor(request.user))
            return "A test message is on its way, and this page shows its result."

        attempt(request, send, "{detail}")
        return self.to_page(channel)


ALERTS_SHOWN = 20


@admin.register(AlertRule)
class AlertRuleAdmin(ConfigurationAdmin):
    empty = "Rules look for problems every 30 seconds, and tell channels about them. Add a channel first."
    list_display = ("name", "tenant", "looks_for", "of", "state", "created_by")
    list_select_related = ("tenant", "pipeline")
    form_type = RuleForm
    discard = staticmethod(rules.remove)
    noun = "rule"
    consequence = "Its firing alerts are resolved. They stay in the list. The rule cannot be restored."
    lead = "The rule looks for one kind of problem every 30 seconds. Leave the thresholds of other kinds empty."
    added = "{name} is added. It is judged every 30 seconds."
    removed = "{name} is removed. Its alerts are resolved."

    @column("Kind")
    def looks_for(self, rule: AlertRule) -> str:
        return rule.get_kind_display()

    @column("Pipeline", empty="all")
    def of(self, rule: AlertRule) -> str | None:
        return rule.pipeline.pipeline_id if rule.pipeline else None

    @badge("State", {"enabled": "success", "disabled": "default", "silenced": "warning"})
    def state(self, rule: AlertRule) -> str:
        return _state(rule)

    new = serves("new/", Act.ALERT_RULE_ADD, Scope.ACTIVATE)(ConfigurationAdmin.new)
    edit = serves("<uuid:object_id>/edit/", Act.ALERT_RULE_CHANGE, Scope.ACTIVATE)(ConfigurationAdmin.edit)
    remove = serves("<uuid:object_id>/remove/", Act.ALERT_RULE_REMOVE, Scope.ACTIVATE)(ConfigurationAdmin.remove)

    def show(self, request: HttpRequest, row: AlertRule) -> HttpResponse:
        kind = Kind(row.kind)
        return self.page(
            request,
            "alerts/rule.html",
            title=row.name,
            original=row,
            rule=row,
            purpose=kind.purpose,
            runbook=runbook_of(kind),
            thresholds=[(threshold, row.thresholds[threshold.name]) for threshold in kind.thresholds],
            state=_state(row),
            channels=list(row.channels.filter(removed_at=None)),
            alerts=list(Alert.objects.filter(rule=row).order_by("-started_at", "-pk")[:ALERTS_SHOWN]),
            may_change=self.has_scope(request, Scope.ACTIVATE, row),
            hours=HOURS,
        )

    def to_change(self, row: AlertRule) -> AlertRule:
        return rules.rule_of(row.tenant, row.pk)

    @serves("<uuid:object_id>/silence/", Act.ALERT_RULE_CHANGE, Scope.ACTIVATE, methods=POST)
    def silence(self, request: HttpRequest, row: AlertRule) -> HttpResponse:
        rule = self.to_change(row)
        form = SilenceForm(request.POST)
        if form.is_valid():
            rules.change(rule, actor=actor(request.user), silenced_until=form.until)
            messages.success(request, "The rule is silenced." if form.until else "The silence has ended.")
        return self.to_page(rule)


VARIANTS = {"firing": "danger", "silenced": "warning", "resolved": "success"}


class AlertStateFilter(ConditionFilter):
    title = parameter_name = "state"
    conditions: ClassVar = {value: (label, Q(state=value)) for value, label in Alert.State.choices}


class AlertKindFilter(ConditionFilter):
    title = parameter_name = "kind"
    conditions: ClassVar = {value: (label, Q(rule__kind=value)) for value, label in Kind.choices}


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
        return _condition(alert)

    @column("Kind")
    def looks_for(self, alert: Alert) -> str:
        return alert.rule.get_kind_display()

    of_rule = text("Rule", "rule.name")
    started = time("Started", "started_at")
    ended = time("Resolved", "resolved_at", empty="-")

    def show(self, request: HttpRequest, row: Alert) -> HttpResponse:
        kind = Kind(row.rule.kind)
        state = _condition(row)
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
            recovery=recovery_path(row),
            events=list(row.events.all()),
            deliveries=shown(deliveries.newest(row)),
            may_silence=self.has_scope(request, Scope.OPERATE, row),
            hours=HOURS,
        )

    @serves("<uuid:object_id>/silence/", Act.ALERT_SILENCE, Scope.OPERATE, methods=POST)
    def silence(self, request: HttpRequest, alert: Alert) -> HttpResponse:
        """Silence the alert for some hours, or end its silence."""
        form = SilenceForm(request.POST)

        def act() -> str:
            evaluation.silence(alert, until=form.until, actor=actor(request.user))
            return "The alert is silenced." if form.until else "The silence has ended."

        if form.is_valid():
            attempt(request, act, "{detail}")
        return redirect("admin:alerts_alert_change", alert.pk)


def _state(rule: AlertRule) -> str:
    if not rule.enabled:
        return "disabled"
    return "silenced" if rule.silenced_until and rule.silenced_until > timezone.now() else "enabled"


def _condition(alert: Alert) -> str:
    is_silenced = alert.silenced_until is not None and alert.silenced_until > timezone.now()
    return "silenced" if alert.state == Alert.State.FIRING and is_silenced else alert.state.lower()
