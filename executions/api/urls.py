"""The URLs of executions, campaigns, interactions and workers of a tenant."""

from executions.api import (
    campaigns,
    drift,
    executions,
    failure_groups,
    holds,
    interactions,
    operators,
    preflights,
    quotas,
    resubmissions,
    smoke_tests,
    submissions,
    workers,
)

urlpatterns = [
    *submissions.urlpatterns,
    *executions.urlpatterns,
    *holds.urlpatterns,
    *operators.urlpatterns,
    *failure_groups.urlpatterns,
    *resubmissions.urlpatterns,
    *smoke_tests.urlpatterns,
    *campaigns.urlpatterns,
    *interactions.urlpatterns,
    *workers.urlpatterns,
    *preflights.urlpatterns,
    *drift.urlpatterns,
    *quotas.urlpatterns,
]
