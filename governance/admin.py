"""Admin pages of pipelines, releases and executions, of requests, campaigns and smoke tests."""

from governance import execution_page, pipeline_page, release_page
from governance.campaigns import pages as campaigns
from governance.requests import pages as requests
from governance.smoke_tests import pages as smoke_tests

__all__ = ["campaigns", "execution_page", "pipeline_page", "release_page", "requests", "smoke_tests"]
