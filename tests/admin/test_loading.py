"""Only processes that serve pages load the admin pages."""

import subprocess
import sys

from django.contrib import admin
from django.core.checks import Tags, run_checks

from coordinator import urls
from executions.models import Execution


def test_a_control_worker_and_the_clock_load_no_page() -> None:
    program = "import sys, coordinator.celery as made; made.app.loader.import_default_modules(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "executions.tasks" in loaded
    assert not loaded & {"coordinator.urls", "executions.admin", "releases.admin", "rest_framework.views"}
    tracing = ("opentelemetry.sdk.trace", "opentelemetry.exporter")
    assert not [name for name in loaded if name.startswith(tracing)], "nothing exports spans without an endpoint"


def test_the_addresses_load_all_pages_and_these_pass_the_system_checks() -> None:
    assert urls.urlpatterns
    assert admin.site.is_registered(Execution)
    assert run_checks(tags=[Tags.admin]) == []
