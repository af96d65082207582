"""The URLs of executions, questions, workers and schedules of a tenant."""

from executions.awaits import api as questions
from executions.explanation import api as explanations
from executions.failures import api as failures
from executions.former_paths import api as former_paths
from executions.holds import api as holds
from executions.inspection import api as executions
from executions.lifecycle import api as operators
from executions.schedules import api as schedules
from executions.step_reports import api as step_reports
from executions.submission import api as submissions
from executions.tenants import api as quotas
from executions.workers import api as workers

urlpatterns = [
    *submissions.urlpatterns,
    *executions.urlpatterns,
    *step_reports.urlpatterns,
    *explanations.urlpatterns,
    *holds.urlpatterns,
    *operators.urlpatterns,
    *failures.urlpatterns,
    *questions.urlpatterns,
    *former_paths.urlpatterns,
    *workers.urlpatterns,
    *quotas.urlpatterns,
    *schedules.urlpatterns,
]
