"""Adds, changes and removes the channels of a tenant. Names are unique among the channels, and among the rules."""

import re
import uuid
from contextlib import AbstractContextManager
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from alerts.models import AlertChannel, RuleChannel
from alerts.texts import stored
from foundation.database.postgresql.outage import refused_by
from foundation.errors import BadRequest, Conflict, NotFound, require_valid
from releases.models import Pipeline
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.models import Tenant
from wire import addresses
from wire.identity import RULE, is_identifier

Kind = AlertChannel.Kind
MOST_CHANNELS: Final = 50
MOST_RECIPIENTS: Final = 10
PIPELINES_SHOWN: Final = 5
_SECRET = re.compile(r"[A-Za-z0-9._-]{0,100}")
_ONCE: Final = {"alert_channel_name_once", "alert_rule_name_once"}
_CHANGING = ("name", "address", "secret", "enabled")


class AlertChannelUnknown(NotFound, title="The tenant has no such alert channel"):
    """Check the id in the list of channels."""


class AlertChannelInvalid(BadRequest, title="The alert channel is not valid"):
    """Correct the members that `errors` names."""


class AlertNameTaken(Conflict, title="The tenant already has an alert rule or channel with this name"):
    """Choose another name."""


class AlertChannelInPolicy(Conflict, title="The policy of a pipeline names the alert channel"):
    """Remove the channel from the policy first."""


class TooManyAlertRules(Conflict, title="The tenant has too many alert rules or channels"):
    """Remove a rule or a channel."""


def kept(tenant: Tenant) -> QuerySet[AlertChannel]:
    """Return the channels of the tenant that were not removed. The caller has checked access to the tenant."""
    return AlertChannel.objects.filter(tenant=tenant, removed_at=None).select_related("tenant")


def channel_of(tenant: Tenant, channel_id: uuid.UUID) -> AlertChannel:
    """Return a channel that was not removed. Raises `AlertChannelUnknown`."""
    channel = kept(tenant).filter(pk=channel_id).first()
    if channel is None:
        raise _unknown(channel_id)
    return channel


def add(
    tenant: Tenant, *, name: str, kind: str, address: str = "", secret: str = "", enabled: bool = True, actor: str
) -> AlertChannel:
    """Add a channel. `secret` is the name of a secret in ALERT_SECRETS. The caller has checked the lengths of texts.

    Raises `AlertChannelInvalid`, `AlertNameTaken` and `TooManyAlertRules`.
    """
    channel = AlertChannel(tenant=tenant, kind=kind, created_by=actor)
    _assign(channel, {"name": name, "address": address, "secret": secret, "enabled": enabled})
    if kept(tenant).count() >= MOST_CHANNELS:
        raise TooManyAlertRules(f"A tenant has at most {MOST_CHANNELS} alert channels.")
    with named_once(channel.name), transaction.atomic():
        channel.save(force_insert=True)
        _record(Act.ALERT_CHANNEL_ADD, channel, actor, kind=channel.kind)
    return channel


def change(channel: AlertChannel, *, actor: str, **changes: Any) -> AlertChannel:
    """Change the named members of a channel: its name, address, secret, or whether it is enabled.

    Raises `AlertChannelInvalid`, `AlertNameTaken`, `AlertChannelUnknown` if it was removed, and `AlertChannelInPolicy`
    for another name while the policy of a pipeline names it.
    """
    _assign(channel, changes)
    values = {name: getattr(channel, name) for name in _CHANGING if name in changes}
    with named_once(channel.name), _in_no_policy(channel), transaction.atomic():
        if values and not AlertChannel.objects.filter(pk=channel.pk, removed_at=None).update(**values):
            raise _unknown(channel.pk)
        # The address and the name of the secret may tell where secrets are, so they are not recorded.
        _record(Act.ALERT_CHANNEL_CHANGE, channel, actor, changed=sorted(values))
    return channel


def remove(channel: AlertChannel, *, actor: str) -> AlertChannel:
    """Remove a channel from all rules, and return it. Its deliveries stay.

    Raises `AlertChannelUnknown` if it was removed, and `AlertChannelInPolicy` while the policy of a pipeline names it.
    """
    with _in_no_policy(channel), transaction.atomic():
        if not AlertChannel.objects.filter(pk=channel.pk, removed_at=None).update(removed_at=Now()):
            raise _unknown(channel.pk)
        RuleChannel.objects.filter(channel=channel).delete()
        _record(Act.ALERT_CHANNEL_REMOVE, channel, actor)
    return channel


def _in_no_policy(channel: AlertChannel) -> AbstractContextManager[None]:
    """Raise `AlertChannelInPolicy` if the block takes the channel from policies that name it."""
    return refused_by({"alert_channel_in_policy"}, lambda: _in_policy(channel))


def _in_policy(channel: AlertChannel) -> AlertChannelInPolicy:
    name = AlertChannel.objects.get(pk=channel.pk).name
    named_by = Pipeline.objects.filter(tenant=channel.tenant, notify_channel=name)[:PIPELINES_SHOWN]
    pipelines = ", ".join(pipeline.pipeline_id for pipeline in named_by)
    detail = f"The channel {name!r} is in the policy of {pipelines}. Choose another one there first."
    return AlertChannelInPolicy(detail)


def _unknown(channel_id: uuid.UUID) -> AlertChannelUnknown:
    return AlertChannelUnknown(f"There is no alert channel {channel_id}.")


def _assign(channel: AlertChannel, changes: dict[str, Any]) -> None:
    for name in _CHANGING:
        if name in changes:
            setattr(channel, name, stored(channel.kind, name, changes[name]))
    require_valid(
        AlertChannelInvalid,
        {"name": wrong_name(channel.name), "address": _wrong_address(channel), "secret": _wrong_secret(channel)},
    )


def _wrong_address(channel: AlertChannel) -> str:
    address = channel.address
    if channel.kind == Kind.SLACK:
        return "must be empty: the URL of a Slack channel is a secret" if address else ""
    if channel.kind == Kind.EMAIL:
        return _wrong_recipients(address)
    return "" if addresses.is_web_address(address) else "must be an http or https URL without user info and fragment"


def _wrong_recipients(address: str) -> str:
    recipients = address.split(",")
    try:
        for recipient in recipients:
            validate_email(recipient)
    except ValidationError:
        return "must be e-mail addresses, separated by commas"
    return "" if len(recipients) <= MOST_RECIPIENTS else f"must be at most {MOST_RECIPIENTS} e-mail addresses"


def _wrong_secret(channel: AlertChannel) -> str:
    if channel.kind == Kind.EMAIL:
        return "must be empty for e-mail" if channel.secret else ""
    if channel.kind == Kind.SLACK and not channel.secret:
        return "must name the secret in ALERT_SECRETS that is the URL of the Slack channel"
    return "" if _SECRET.fullmatch(channel.secret) else "must be the name of a secret in ALERT_SECRETS"


def _record(act: Act, channel: AlertChannel, actor: str, **details: Any) -> None:
    audit.record(act, tenant=channel.tenant, actor=actor, object=channel.name, **details)


def wrong_name(name: str) -> str:
    """Return what is wrong with a name; "" if it is valid. The caller has checked its length."""
    return "" if is_identifier(name) else RULE


def named_once(name: str) -> AbstractContextManager[None]:
    """Raise `AlertNameTaken` if the block writes a name that is taken."""
    return refused_by(_ONCE, lambda: AlertNameTaken(f"The name {name!r} is taken."))
