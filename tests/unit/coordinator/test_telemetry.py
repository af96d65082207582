"""Processes that export no spans do not import what makes them."""

import subprocess
import sys

from embedded.product import PROJECT
from foundation.telemetry import traces
from tests.unit.coordinator.test_settings import VALID
from wire.traceparent import NONE

CONTEXT = f"00-{'a' * 32}-{'b' * 16}-01"
LOADED = """
import sys
import django
django.setup()
from coordinator import celery, urls
from coordinator.models import Process
from coordinator.monitoring import process
process.start(Process.Kind.WEB)
from foundation.telemetry import traces
with traces.serving("POST executions", "{context}") as span:
    assert traces.current() == span.traceparent == "{context}"
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk.trace", "opentelemetry.exporter"))])
"""  # the client of the broker imports the part for metrics if it is installed


def test_what_exports_spans_is_not_imported_without_an_endpoint() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(context=CONTEXT)],
        env={**VALID, "PYTHONPATH": str(PROJECT), "DJANGO_SETTINGS_MODULE": "coordinator.settings"},
        capture_output=True,
        text=True,
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_a_request_without_a_context_is_not_traced() -> None:
    for header in ("", "x", CONTEXT + "-x"):
        with traces.serving("POST executions", header):
            assert traces.current() == NONE
