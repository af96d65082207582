"""The forms of rules, channels and silences."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.db.models import QuerySet
from django.forms import model_to_dict
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from alerts import deliveries, rules
from alerts.kinds import NAMES, Kind
from alerts.models import LONGEST_ADDRESS, LONGEST_NAME, AlertChannel, AlertRule
from releases.models import IDENTITY_LENGTH
from releases.queries import pipeline
from tenancy.models import Tenant

if TYPE_CHECKING:
    _MultipleChoiceField = forms.ModelMultipleChoiceField[AlertChannel]
else:
    _MultipleChoiceField = forms.ModelMultipleChoiceField

HOURS = ((1, "1 hour"), (4, "4 hours"), (24, "a day"), (168, "a week"))


class SilenceForm(forms.Form):
    """For how many hours a rule or an alert is silenced. 0 ends its silence."""

    hours = forms.TypedChoiceField(choices=[(0, "end"), *HOURS], coerce=int)

    @property
    def until(self) -> datetime | None:
        """The end of the silence that a valid form requests; None ends it now."""
        hours = self.cleaned_data["hours"]
        return timezone.now() + timedelta(hours=hours) if hours else None


class ConfiguredForm(forms.Form):
    """A new row, or the changes of `row`, which has `values`. The tenant and the kind are chosen once."""

    tenant = forms.ModelChoiceField(Tenant.objects.none(), empty_label=None, widget=UnfoldAdminSelectWidget)
    enabled = forms.BooleanField(required=False, initial=True, widget=UnfoldBooleanWidget)

    def __init__(self, request: HttpRequest, tenants: QuerySet[Tenant], row: Any, values: dict[str, Any]) -> None:
        super().__init__(request.POST if request.method == "POST" else None, initial=values)
        self._row = row
        if row is not None:
            del self.fields["tenant"], self.fields["kind"]
            return
        field = self.fields["tenant"]
        assert isinstance(field, forms.ModelChoiceField)  # noqa: S101 - declared above
        field.queryset = tenants


class ChannelForm(ConfiguredForm):
    field_order = ("tenant", "kind", "name", "address", "secret", "enabled")
    kind = forms.ChoiceField(choices=AlertChannel.Kind.choices, widget=UnfoldAdminSelectWidget)
    name = forms.CharField(
        max_length=LONGEST_NAME, widget=UnfoldAdminTextInputWidget, help_text="For example “Operations”."
    )
    address = forms.CharField(
        max_length=LONGEST_ADDRESS,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="The URL of a webhook, or e-mail addresses, separated by commas. Leave it empty for Slack.",
    )
    secret = forms.CharField(
        max_length=100,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text=(
            "The name of a secret in ALERT_SECRETS, which the operator of the installation sets: the URL of the Slack "
            "channel, or the key that signs the webhook. Without one, the tenant's webhook key signs it."
        ),
    )

    def __init__(self, request: HttpRequest, tenants: QuerySet[Tenant], channel: AlertChannel | None = None) -> None:
        values = model_to_dict(channel, ("name", "address", "secret", "enabled")) if channel else {}
        super().__init__(request, tenants, channel, values)
        if channel is not None and channel.kind == AlertChannel.Kind.WEBHOOK:
            self.initial["address"] = ""
            self.fields["address"].help_text = f"Leave it empty to keep {channel.shown_address}"

    def save(self, by: str) -> AlertChannel:
        fields = dict(self.cleaned_data)
        if self._row is None:
            return deliveries.add_channel(fields.pop("tenant"), actor=by, **fields)
        if self._row.kind == AlertChannel.Kind.WEBHOOK and not fields["address"]:
            del fields["address"]  # the form does not show it
        return deliveries.change_channel(self._row, actor=by, **fields)


class ChannelsField(_MultipleChoiceField):
    """Channels by their names, with their tenants if `names_tenants` is true."""

    names_tenants = False

    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.tenant.slug}: {obj.name}" if self.names_tenants else str(obj.name)


class RuleForm(ConfiguredForm):
    """The pipeline is chosen once, too."""

    field_order = ("tenant", "kind", "name", "pipeline", "channels", "enabled")
    kind = forms.ChoiceField(choices=Kind.choices, widget=UnfoldAdminSelectWidget)
    name = forms.CharField(max_length=LONGEST_NAME, widget=UnfoldAdminTextInputWidget)
    pipeline = forms.CharField(
        max_length=IDENTITY_LENGTH,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="The id of a pipeline. Leave it empty for all pipelines of the tenant.",
    )
    channels = ChannelsField(AlertChannel.objects.none(), required=False, widget=forms.CheckboxSelectMultiple)

    def __init__(self, request: HttpRequest, tenants: QuerySet[Tenant], rule: AlertRule | None = None) -> None:
        values: dict[str, Any] = {}
        if rule is not None:
            chosen = [channel.pk for channel in rule.channels.all()]
            values = {"name": rule.name, "enabled": rule.enabled, "channels": chosen, **rule.thresholds}
        super().__init__(request, tenants, rule, values)
        for name in NAMES:
            if rule is None or any(threshold.name == name for threshold in Kind(rule.kind).thresholds):
                self.fields[name] = _threshold(name, rule)
        self.order_fields(["tenant", "kind", "name", *NAMES])
        if rule is not None:
            del self.fields["pipeline"]
        field = self.fields["channels"]
        assert isinstance(field, ChannelsField)  # noqa: S101 - declared above
        scope: Any = {"tenant": rule.tenant_id} if rule is not None else {"tenant__in": tenants}
        field.queryset = AlertChannel.objects.filter(**scope, removed_at=None).select_related("tenant")
        field.names_tenants = rule is None and tenants.count() > 1

    def save(self, by: str) -> AlertRule:
        cleaned = self.cleaned_data
        members = {
            "name": cleaned["name"],
            "thresholds": {name: cleaned[name] for name in NAMES if cleaned.get(name) is not None},
            "channel_ids": [channel.pk for channel in cleaned["channels"]],
            "enabled": cleaned["enabled"],
        }
        if self._row is not None:
            return rules.change(self._row, actor=by, **members)
        tenant = cleaned["tenant"]
        named = pipeline(tenant, cleaned["pipeline"]) if cleaned["pipeline"] else None
        return rules.add(tenant, kind=cleaned["kind"], pipeline=named, actor=by, **members)


def _threshold(name: str, rule: AlertRule | None) -> forms.IntegerField:
    """Return the field of one threshold. Its rule is checked by the use case."""
    kinds = [Kind(rule.kind)] if rule is not None else list(Kind)
    known = {kind: threshold for kind in kinds for threshold in kind.thresholds if threshold.name == name}
    if rule is None:
        lines = ((kind.label, threshold.meaning, threshold.default) for kind, threshold in known.items())
        text = format_html("<ul>{}</ul>", format_html_join("", "<li>{}: {} ({} if empty)</li>", lines))
    else:
        text = format_html_join(
            "; ", "{}{}.", ((threshold.meaning[0].upper(), threshold.meaning[1:]) for threshold in known.values())
        )
    return forms.IntegerField(required=False, widget=UnfoldAdminTextInputWidget, help_text=text)
