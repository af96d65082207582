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
    provenance,
    quotas,
    resubmissions,
    smoke_tests,
    submissions,
    worker_plans,
    workers,
)

urlpatterns = [
    *submissions.urlpatterns,
    *executions.urlpatterns,
    *provenance.urlpatterns,
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
    *worker_plans.urlpatterns,
    *quotas.urlpatterns,
]
