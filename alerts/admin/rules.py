"""The list of rules, the page of a rule, and the forms that change it."""

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from alerts import queries, rules
from alerts.admin.configuration import ConfigurationAdmin
from alerts.admin.forms import HOURS, RuleForm, SilenceForm
from alerts.kinds import Kind
from alerts.messages import runbook_of
from alerts.models import Alert, AlertRule
from foundation.admin.columns import badge, column
from releases.queries import pipeline
from tenancy.access import actor
from tenancy.admin.base import POST, serves
from tenancy.audit.acts import Act
from tenancy.models import Tenant
from tenancy.roles import Scope

ALERTS_SHOWN = 20


@admin.register(AlertRule)
class AlertRuleAdmin(ConfigurationAdmin):
    empty = "Rules look for problems every 30 seconds, and tell channels about them. Add a channel first."
    list_display = ("name", "tenant", "looks_for", "of", "state", "created_by")
    list_select_related = ("tenant", "pipeline")
    form_type = RuleForm
    noun = "rule"
    lead = "The rule looks for one kind of problem every 30 seconds. Thresholds that its kind does not have stay empty."
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
        if not rule.enabled:
            return "disabled"
        return "silenced" if rule.silenced_until and rule.silenced_until > timezone.now() else "enabled"

    new = serves("new/", Act.ALERT_RULE_ADD, Scope.ACTIVATE)(ConfigurationAdmin.new)
    edit = serves("<uuid:object_id>/edit/", Act.ALERT_RULE_CHANGE, Scope.ACTIVATE)(ConfigurationAdmin.edit)
    remove = serves("<uuid:object_id>/remove/", Act.ALERT_RULE_REMOVE, Scope.ACTIVATE, methods=POST)(
        ConfigurationAdmin.remove
    )

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
            thresholds=[(each, row.thresholds[each.name]) for each in kind.thresholds],
            state=self.state(row),
            channels=list(row.channels.filter(removed_at=None)),
            alerts=list(Alert.objects.filter(rule=row).order_by("-started_at", "-pk")[:ALERTS_SHOWN]),
            may_change=self.may(request, Scope.ACTIVATE, row),
            hours=HOURS,
        )

    def add(self, form: RuleForm, by: str) -> AlertRule:
        fields = form.cleaned_data
        tenant: Tenant = fields["tenant"]
        return rules.add(
            tenant,
            kind=fields["kind"],
            pipeline=pipeline(tenant, fields["pipeline"]) if fields["pipeline"] else None,
            actor=by,
            **form.changeable,
        )

    def change(self, row: AlertRule, form: RuleForm, by: str) -> None:
        rules.change(row, actor=by, **form.changeable)

    def discard(self, row: AlertRule, by: str) -> None:
        rules.remove(row, actor=by)

    def to_change(self, row: AlertRule) -> AlertRule:
        return queries.rule(row.tenant, row.pk)

    @serves("<uuid:object_id>/silence/", Act.ALERT_RULE_CHANGE, Scope.ACTIVATE, methods=POST)
    def silence(self, request: HttpRequest, row: AlertRule) -> HttpResponse:
        rule = self.to_change(row)
        form = SilenceForm(request.POST)
        if form.is_valid():
            rules.change(rule, actor=actor(request.user), silenced_until=form.until)
            messages.success(request, "The rule is silenced." if form.until else "The silence has ended.")
        return self.to_page(rule)
