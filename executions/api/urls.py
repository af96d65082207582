"""The URLs of executions, campaigns, interactions and workers of a tenant."""

from executions.api import executions, failure_groups, holds, interactions, operators, quotas, submissions, workers
from governance.campaigns import api
from governance.drift import api as drift
from governance.preflight import api as preflights
from governance.resubmission import api as resubmissions
from governance.smoke_tests import api as smoke_tests

urlpatterns = [
    *submissions.urlpatterns,
    *executions.urlpatterns,
    *holds.urlpatterns,
    *operators.urlpatterns,
    *failure_groups.urlpatterns,
    *resubmissions.urlpatterns,
    *smoke_tests.urlpatterns,
    *api.urlpatterns,
    *interactions.urlpatterns,
    *workers.urlpatterns,
    *preflights.urlpatterns,
    *drift.urlpatterns,
    *quotas.urlpatterns,
]
