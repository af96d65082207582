"""Admin pages of alerts, their rules and their channels."""

from alerts.admin.alerts import AlertAdmin
from alerts.admin.channels import AlertChannelAdmin
from alerts.admin.rules import AlertRuleAdmin

__all__ = ["AlertAdmin", "AlertChannelAdmin", "AlertRuleAdmin"]
