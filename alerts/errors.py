"""The errors of alerts that a caller can see."""

from foundation.errors import CoordinatorError


class AlertUnknown(CoordinatorError, status=404):
    title = "The tenant has no such alert"


class AlertRuleUnknown(CoordinatorError, status=404):
    title = "The tenant has no such alert rule"


class AlertChannelUnknown(CoordinatorError, status=404):
    title = "The tenant has no such alert channel"


class AlertRuleInvalid(CoordinatorError, status=400):
    title = "The alert rule is not valid"


class AlertChannelInvalid(CoordinatorError, status=400):
    title = "The alert channel is not valid"


class AlertNameTaken(CoordinatorError, status=409):
    title = "The tenant already has an alert rule or channel with this name"


class TooManyAlertRules(CoordinatorError, status=409):
    title = "The tenant has too many alert rules or channels"


class AlertIsResolved(CoordinatorError, status=409):
    code = "ALERT_RESOLVED"
    title = "The alert is resolved"


class AlertChannelDisabled(CoordinatorError, status=409):
    title = "The alert channel is disabled"
