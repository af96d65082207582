from alerts.models.alert import Alert, AlertEvent
from alerts.models.channel import AlertChannel
from alerts.models.delivery import AlertDelivery
from alerts.models.rule import AlertRule, RuleChannel

__all__ = ["Alert", "AlertChannel", "AlertDelivery", "AlertEvent", "AlertRule", "RuleChannel"]
