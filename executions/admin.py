"""Admin pages of failures, pauses, questions, schedules and workers. `governance` has those of executions."""

from executions.awaits import pages as questions
from executions.failures import dead_letter_pages
from executions.failures import pages as failures
from executions.holds import pages as holds
from executions.schedules import pages as schedules
from executions.tenants import pages as tenants
from executions.workers import pages as workers

__all__ = ["dead_letter_pages", "failures", "holds", "questions", "schedules", "tenants", "workers"]
