"""The list of rules, the page of a rule, and the forms that change it."""

import uuid
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern
from django.utils import timezone

from alerts import queries
from alerts.admin.forms import HOURS, RuleForm, SilenceForm
from alerts.configuration import rules
from alerts.delivery.message import runbook_of
from alerts.kinds import PURPOSE, THRESHOLDS, Kind
from alerts.models import Alert, AlertRule
from foundation.admin.columns import badge, column
from foundation.errors import CoordinatorError
from releases.queries import pipeline
from tenancy.access import actor, tenants_of
from tenancy.admin.base import ReadOnlyAdmin, TenantFilter, problem_of
from tenancy.models import Tenant
from tenancy.roles import Scope

ALERTS_SHOWN = 20
CHANGE = "admin:alerts_alertrule_change"


@admin.register(AlertRule)
class AlertRuleAdmin(ReadOnlyAdmin):
    empty = "Rules look for problems every 30 seconds, and tell channels about them. Add a channel first."
    list_display = ("name", "tenant", "looks_for", "of", "state", "created_by")
    list_select_related = ("tenant", "pipeline")
    list_filter = (TenantFilter,)
    ordering = ("name", "id")
    list_per_page = 50
    sortable_by = ()
    change_list_template = "alerts/rule_list.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[AlertRule]:
        return super().get_queryset(request).filter(removed_at=None).select_related("tenant", "pipeline")

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

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        context = {"may_change": _tenants(request).exists()}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def own_urls(self) -> list[URLPattern]:
        return [
            self.own("new/", "new", self.new),
            self.own("<uuid:object_id>/edit/", "edit", self.edit),
            self.own("<uuid:object_id>/silence/", "silence", self.silence),
            self.own("<uuid:object_id>/remove/", "remove", self.remove),
        ]

    def show(self, request: HttpRequest, row: AlertRule) -> HttpResponse:
        kind = Kind(row.kind)
        return self.page(
            request,
            "alerts/rule.html",
            title=row.name,
            original=row,
            rule=row,
            purpose=PURPOSE[kind],
            runbook=runbook_of(kind),
            thresholds=[(each, row.thresholds[each.name]) for each in THRESHOLDS[kind]],
            state=self.state(row),
            channels=list(row.channels.filter(removed_at=None)),
            alerts=list(Alert.objects.filter(rule=row).order_by("-started_at", "-pk")[:ALERTS_SHOWN]),
            may_change=self.may(request, Scope.ACTIVATE, row),
            hours=HOURS,
        )

    def new(self, request: HttpRequest) -> HttpResponse:
        """Add a rule. Requires the right to activate in a tenant."""
        if not _tenants(request).exists():
            raise PermissionDenied
        form, error = RuleForm(request, _tenants(request)), None
        if request.method == "POST" and form.is_valid():
            try:
                rule = _added(form, actor(request.user))
            except CoordinatorError as rejected:
                error = rejected
            else:
                messages.success(request, f"{rule.name} is added. It is judged every 30 seconds.")
                return redirect(CHANGE, rule.pk)
        return self._form(request, form, error, title="Add a rule")

    def edit(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        rule = self._changed(request, object_id)
        form, error = RuleForm(request, _tenants(request), rule), None
        if request.method == "POST" and form.is_valid():
            fields = form.cleaned_data
            try:
                rules.change(
                    rule,
                    actor=actor(request.user),
                    name=fields["name"],
                    thresholds=form.thresholds,
                    channel_ids=[channel.pk for channel in fields["channels"]],
                    enabled=fields["enabled"],
                )
            except CoordinatorError as rejected:
                error = rejected
            else:
                messages.success(request, "Saved.")
                return redirect(CHANGE, rule.pk)
        return self._form(request, form, error, title=f"Change {rule.name}", original=rule)

    def silence(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        rule = self._changed(request, object_id)
        form = SilenceForm(request.POST)
        if form.is_valid():
            hours = form.cleaned_data["hours"]
            until = timezone.now() + timedelta(hours=hours) if hours else None
            rules.change(rule, actor=actor(request.user), silenced_until=until)
            messages.success(request, "The rule is silenced." if hours else "The silence has ended.")
        return redirect(CHANGE, rule.pk)

    def remove(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        rule = self._changed(request, object_id)
        try:
            rules.remove(rule, actor=actor(request.user))
        except CoordinatorError as error:
            messages.error(request, error.detail)
        else:
            messages.success(request, f"{rule.name} is removed. Its alerts are resolved.")
        return redirect("admin:alerts_alertrule_changelist")

    def _changed(self, request: HttpRequest, object_id: uuid.UUID) -> AlertRule:
        rule: AlertRule = self.row_or_404(request, object_id)
        if not self.may(request, Scope.ACTIVATE, rule):
            raise PermissionDenied
        return queries.rule(rule.tenant, rule.pk)

    def _form(
        self, request: HttpRequest, form: RuleForm, error: CoordinatorError | None, **context: Any
    ) -> HttpResponse:
        status = error.status if error else 400 if form.errors else 200
        problem = problem_of(error) if error else None
        return self.page(request, "alerts/rule_form.html", status=status, form=form, problem=problem, **context)


def _added(form: RuleForm, by: str) -> AlertRule:
    fields = form.cleaned_data
    tenant: Tenant = fields["tenant"]
    return rules.add(
        tenant,
        name=fields["name"],
        kind=fields["kind"],
        thresholds=form.thresholds,
        pipeline=pipeline(tenant, fields["pipeline"]) if fields["pipeline"] else None,
        channel_ids=[channel.pk for channel in fields["channels"]],
        enabled=fields["enabled"],
        actor=by,
    )


def _tenants(request: HttpRequest) -> QuerySet[Tenant]:
    return tenants_of(request.user, Scope.ACTIVATE)
