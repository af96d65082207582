"""Admin pages of executions, dead letters, questions, campaigns and workers. Extends those of tenants and releases."""

from executions.admin import (
    campaigns,
    dead_letters,
    executions,
    failures,
    holds,
    interactions,
    pipeline_sections,
    release_sections,
    smoke_tests,
    tenants,
    workers,
)

__all__ = [
    "campaigns",
    "dead_letters",
    "executions",
    "failures",
    "holds",
    "interactions",
    "pipeline_sections",
    "release_sections",
    "smoke_tests",
    "tenants",
    "workers",
]
