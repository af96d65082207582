"""The operator's pages, and those of whoever answers what executions ask."""

from executions.admin.campaigns import CampaignAdmin
from executions.admin.dead_letters import DeadLetterAdmin
from executions.admin.executions import ExecutionAdmin
from executions.admin.interactions import InteractionAdmin
from executions.admin.tenants import TenantWithRetentionAdmin
from executions.admin.workers import WorkerAdmin

__all__ = [
    "CampaignAdmin",
    "DeadLetterAdmin",
    "ExecutionAdmin",
    "InteractionAdmin",
    "TenantWithRetentionAdmin",
    "WorkerAdmin",
]
