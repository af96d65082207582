"""Admin pages of alerts, their rules and their channels."""

from alerts.admin.alerts import AlertAdmin
from alerts.admin.configuration import AlertChannelAdmin, AlertRuleAdmin

__all__ = ["AlertAdmin", "AlertChannelAdmin", "AlertRuleAdmin"]
