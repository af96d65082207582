"""Admin pages of executions, dead letters, questions, campaigns and workers. Extends those of tenants and releases."""

from executions.admin import dead_letters, failures, holds, interactions, tenants, workers
from governance import execution_page, pipeline_sections, release_sections
from governance.campaigns import pages
from governance.smoke_tests import pages as smoke_tests

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
