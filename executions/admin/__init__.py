"""Admin pages of executions, dead letters, questions, campaigns and workers. Extends those of tenants and releases."""

from executions.admin import (
    drift,
    pipeline_health,
    preflights,
    release_executions,
    release_retirement,
    release_workers,
    tenants,
)
from executions.admin.campaigns import CampaignAdmin
from executions.admin.dead_letters import DeadLetterAdmin
from executions.admin.executions import ExecutionAdmin
from executions.admin.failures import FailureGroupAdmin
from executions.admin.holds import HoldAdmin
from executions.admin.interactions import InteractionAdmin
from executions.admin.smoke_tests import SmokeTestAdmin
from executions.admin.workers import WorkerAdmin

__all__ = [
    "CampaignAdmin",
    "DeadLetterAdmin",
    "ExecutionAdmin",
    "FailureGroupAdmin",
    "HoldAdmin",
    "InteractionAdmin",
    "SmokeTestAdmin",
    "WorkerAdmin",
    "drift",
    "pipeline_health",
    "preflights",
    "release_executions",
    "release_retirement",
    "release_workers",
    "tenants",
]
