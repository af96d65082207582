"""The URLs of executions, interactions and workers of a tenant."""

from executions.api import executions, failure_groups, holds, interactions, operators, quotas, submissions, workers

urlpatterns = [
    *submissions.urlpatterns,
    *executions.urlpatterns,
    *holds.urlpatterns,
    *operators.urlpatterns,
    *failure_groups.urlpatterns,
    *interactions.urlpatterns,
    *workers.urlpatterns,
    *quotas.urlpatterns,
]
