"""The list of channels, the page of a channel with its messages, and the forms that change it."""

import uuid
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern

from alerts import queries
from alerts.admin.forms import ChannelForm
from alerts.configuration import channels
from alerts.delivery import deliveries
from alerts.models import AlertChannel, AlertDelivery
from foundation.admin.columns import badge, column
from foundation.errors import CoordinatorError
from tenancy.access import actor, tenants_of
from tenancy.admin.base import ReadOnlyAdmin, TenantFilter, problem_of
from tenancy.models import Tenant
from tenancy.roles import Scope

DELIVERY_VARIANTS = {
    AlertDelivery.State.PENDING: "info",
    AlertDelivery.State.SENT: "success",
    AlertDelivery.State.FAILED: "danger",
}
CHANGE = "admin:alerts_alertchannel_change"


def shown(rows: list[AlertDelivery]) -> list[tuple[AlertDelivery, str]]:
    """Return deliveries with the colours of their states."""
    return [(row, DELIVERY_VARIANTS[AlertDelivery.State(row.state)]) for row in rows]


@admin.register(AlertChannel)
class AlertChannelAdmin(ReadOnlyAdmin):
    empty = (
        "Channels tell people about alerts: webhooks, e-mail and Slack. Add one, send a test message, and add rules."
    )
    list_display = ("name", "tenant", "type", "to", "state", "created_by")
    list_select_related = ("tenant",)
    list_filter = (TenantFilter,)
    ordering = ("name", "id")
    list_per_page = 50
    sortable_by = ()
    change_list_template = "alerts/channel_list.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[AlertChannel]:
        return super().get_queryset(request).filter(removed_at=None)

    @column("Kind")
    def type(self, channel: AlertChannel) -> str:
        return channel.get_kind_display()

    @column("Address", empty="-")
    def to(self, channel: AlertChannel) -> str | None:
        return channel.shown_address or None

    @badge("State", {"enabled": "success", "disabled": "default"})
    def state(self, channel: AlertChannel) -> str:
        return "enabled" if channel.enabled else "disabled"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        context = {"may_change": _tenants(request).exists()}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def own_urls(self) -> list[URLPattern]:
        return [
            self.own("new/", "new", self.new),
            self.own("<uuid:object_id>/edit/", "edit", self.edit),
            self.own("<uuid:object_id>/test/", "test", self.test),
            self.own("<uuid:object_id>/remove/", "remove", self.remove),
        ]

    def show(self, request: HttpRequest, row: AlertChannel) -> HttpResponse:
        return self.page(
            request,
            "alerts/channel.html",
            title=row.name,
            original=row,
            channel=row,
            rules=list(row.rules.filter(removed_at=None).order_by("name", "pk")),
            deliveries=shown(queries.newest_deliveries(row)),
            may_change=self.may(request, Scope.ACTIVATE, row),
        )

    def new(self, request: HttpRequest) -> HttpResponse:
        """Add a channel. Requires the right to activate in a tenant."""
        if not _tenants(request).exists():
            raise PermissionDenied
        form, error = ChannelForm(request, _tenants(request)), None
        if request.method == "POST" and form.is_valid():
            fields = dict(form.cleaned_data)
            try:
                channel = channels.add(fields.pop("tenant"), actor=actor(request.user), **fields)
            except CoordinatorError as rejected:
                error = rejected
            else:
                messages.success(request, f"{channel.name} is added. Send a test message to see that it works.")
                return redirect(CHANGE, channel.pk)
        return self._form(request, form, error, title="Add a channel")

    def edit(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        channel = self._changed(request, object_id)
        form, error = ChannelForm(request, _tenants(request), channel), None
        if request.method == "POST" and form.is_valid():
            fields = dict(form.cleaned_data)
            if channel.kind == AlertChannel.Kind.WEBHOOK and not fields["address"]:
                del fields["address"]  # the form does not show it
            try:
                channels.change(channel, actor=actor(request.user), **fields)
            except CoordinatorError as rejected:
                error = rejected
            else:
                messages.success(request, "Saved.")
                return redirect(CHANGE, channel.pk)
        return self._form(request, form, error, title=f"Change {channel.name}", original=channel)

    def test(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        """Send a test message now."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        channel = self._changed(request, object_id)
        try:
            deliveries.test(channel, actor=actor(request.user))
        except CoordinatorError as error:
            messages.error(request, error.detail)
        else:
            messages.success(request, "A test message is on its way. Load this page again to see what became of it.")
        return redirect(CHANGE, channel.pk)

    def remove(self, request: HttpRequest, object_id: uuid.UUID) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        channel = self._changed(request, object_id)
        try:
            channels.remove(channel, actor=actor(request.user))
        except CoordinatorError as error:
            messages.error(request, error.detail)
        else:
            messages.success(request, f"{channel.name} is removed.")
        return redirect("admin:alerts_alertchannel_changelist")

    def _changed(self, request: HttpRequest, object_id: uuid.UUID) -> AlertChannel:
        channel: AlertChannel = self.row_or_404(request, object_id)
        if not self.may(request, Scope.ACTIVATE, channel):
            raise PermissionDenied
        return channel

    def _form(
        self, request: HttpRequest, form: ChannelForm, error: CoordinatorError | None, **context: Any
    ) -> HttpResponse:
        status = error.status if error else 400 if form.errors else 200
        problem = problem_of(error) if error else None
        return self.page(request, "alerts/channel_form.html", status=status, form=form, problem=problem, **context)


def _tenants(request: HttpRequest) -> QuerySet[Tenant]:
    return tenants_of(request.user, Scope.ACTIVATE)
