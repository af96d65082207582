"""The URLs of executions, campaigns, interactions and workers of a tenant."""

from executions.api import (
    campaigns,
    executions,
    interactions,
    operators,
    provenance,
    resubmissions,
    submissions,
    workers,
)

urlpatterns = [
    *submissions.urlpatterns,
    *executions.urlpatterns,
    *provenance.urlpatterns,
    *operators.urlpatterns,
    *resubmissions.urlpatterns,
    *campaigns.urlpatterns,
    *interactions.urlpatterns,
    *workers.urlpatterns,
]
