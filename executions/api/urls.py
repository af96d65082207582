"""The URLs of executions, campaigns, interactions and workers of a tenant."""

from executions.api import (
    campaigns,
    executions,
    holds,
    interactions,
    operators,
    provenance,
    resubmissions,
    smoke_tests,
    submissions,
    workers,
)

urlpatterns = [
    *submissions.urlpatterns,
    *executions.urlpatterns,
    *provenance.urlpatterns,
    *holds.urlpatterns,
    *operators.urlpatterns,
    *resubmissions.urlpatterns,
    *smoke_tests.urlpatterns,
    *campaigns.urlpatterns,
    *interactions.urlpatterns,
    *workers.urlpatterns,
]
