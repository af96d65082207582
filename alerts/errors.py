"""The errors of alerts that a caller can see."""

from foundation.errors import BadRequest, Conflict, NotFound


class AlertUnknown(NotFound, title="The tenant has no such alert"): ...


class AlertRuleUnknown(NotFound, title="The tenant has no such alert rule"): ...


class AlertChannelUnknown(NotFound, title="The tenant has no such alert channel"): ...


class AlertRuleInvalid(BadRequest, title="The alert rule is not valid"): ...


class AlertChannelInvalid(BadRequest, title="The alert channel is not valid"): ...


class AlertNameTaken(Conflict, title="The tenant already has an alert rule or channel with this name"): ...


class TooManyAlertRules(Conflict, title="The tenant has too many alert rules or channels"): ...


class AlertIsResolved(Conflict, title="The alert is resolved", code="ALERT_RESOLVED"): ...


class AlertChannelDisabled(Conflict, title="The alert channel is disabled"): ...
