"""Admin pages of executions, dead letters, questions, campaigns and workers, and additions to the tenant page."""

from executions.admin import tenants
from executions.admin.campaigns import CampaignAdmin
from executions.admin.dead_letters import DeadLetterAdmin
from executions.admin.executions import ExecutionAdmin
from executions.admin.interactions import InteractionAdmin
from executions.admin.workers import WorkerAdmin

__all__ = [
    "CampaignAdmin",
    "DeadLetterAdmin",
    "ExecutionAdmin",
    "InteractionAdmin",
    "WorkerAdmin",
    "tenants",
]
