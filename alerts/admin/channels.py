"""The list of channels, the page of a channel with its messages, and the forms that change it."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from alerts import channels, deliveries, queries
from alerts.admin.configuration import ConfigurationAdmin
from alerts.admin.forms import ChannelForm
from alerts.models import AlertChannel, AlertDelivery
from foundation.admin.columns import badge, column
from tenancy.access import actor
from tenancy.admin.base import POST, attempt, serves
from tenancy.audit.acts import Act
from tenancy.roles import Scope

DELIVERY_VARIANTS = {
    AlertDelivery.State.PENDING: "info",
    AlertDelivery.State.SENT: "success",
    AlertDelivery.State.FAILED: "danger",
}


def shown(rows: list[AlertDelivery]) -> list[tuple[AlertDelivery, str]]:
    """Return deliveries with the colours of their states."""
    return [(row, DELIVERY_VARIANTS[AlertDelivery.State(row.state)]) for row in rows]


@admin.register(AlertChannel)
class AlertChannelAdmin(ConfigurationAdmin):
    empty = (
        "Channels tell people about alerts: webhooks, e-mail and Slack. Add one, send a test message, and add rules."
    )
    list_display = ("name", "tenant", "type", "to", "state", "created_by")
    list_select_related = ("tenant",)
    form_type = ChannelForm
    noun = "channel"
    lead = "A channel tells people about alerts. Rules name the channels that they use."
    added = "{name} is added. Send a test message to see that it works."

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
    remove = serves("<uuid:object_id>/remove/", Act.ALERT_CHANNEL_REMOVE, Scope.ACTIVATE, methods=POST)(
        ConfigurationAdmin.remove
    )

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

    def add(self, form: ChannelForm, by: str) -> AlertChannel:
        fields = dict(form.cleaned_data)
        return channels.add(fields.pop("tenant"), actor=by, **fields)

    def change(self, row: AlertChannel, form: ChannelForm, by: str) -> None:
        fields = dict(form.cleaned_data)
        if row.kind == AlertChannel.Kind.WEBHOOK and not fields["address"]:
            del fields["address"]  # the form does not show it
        channels.change(row, actor=by, **fields)

    def discard(self, row: AlertChannel, by: str) -> None:
        channels.remove(row, actor=by)

    @serves("<uuid:object_id>/test/", Act.ALERT_CHANNEL_TEST, Scope.ACTIVATE, methods=POST)
    def test(self, request: HttpRequest, channel: AlertChannel) -> HttpResponse:
        """Send a test message now."""

        def send() -> str:
            deliveries.test(channel, actor=actor(request.user))
            return "A test message is on its way. Reload this page to see its result."

        attempt(request, send, "{error.detail}")
        return self.to_page(channel)
