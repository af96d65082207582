"""The errors of alerts that a caller can see."""

from foundation.errors import CoordinatorError


class AlertUnknown(CoordinatorError):
    code = "ALERT_UNKNOWN"
    status = 404
    title = "The tenant has no such alert"


class AlertRuleUnknown(CoordinatorError):
    code = "ALERT_RULE_UNKNOWN"
    status = 404
    title = "The tenant has no such alert rule"


class AlertChannelUnknown(CoordinatorError):
    code = "ALERT_CHANNEL_UNKNOWN"
    status = 404
    title = "The tenant has no such alert channel"


class AlertRuleInvalid(CoordinatorError):
    code = "ALERT_RULE_INVALID"
    status = 400
    title = "The alert rule is not valid"


class AlertChannelInvalid(CoordinatorError):
    code = "ALERT_CHANNEL_INVALID"
    status = 400
    title = "The alert channel is not valid"


class AlertNameTaken(CoordinatorError):
    code = "ALERT_NAME_TAKEN"
    status = 409
    title = "The tenant already has an alert rule or channel with this name"


class TooManyAlertRules(CoordinatorError):
    code = "TOO_MANY_ALERT_RULES"
    status = 409
    title = "The tenant has too many alert rules or channels"


class AlertIsResolved(CoordinatorError):
    code = "ALERT_RESOLVED"
    status = 409
    title = "The alert is resolved"


class AlertChannelDisabled(CoordinatorError):
    code = "ALERT_CHANNEL_DISABLED"
    status = 409
    title = "The alert channel is disabled"
