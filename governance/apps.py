from django.apps import AppConfig


class GovernanceConfig(AppConfig):
    """Has no tables: the rows that it decides about belong to `releases` and `executions`."""

    name = "governance"
