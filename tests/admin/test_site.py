"""What holds for the whole admin: system checks and security headers."""

from dataclasses import replace
from typing import Any

from django.contrib import admin
from django.core.checks import Tags, run_checks
from django.test import Client

from coordinator import urls
from executions.models import Execution
from tests.admin.browsing import to
from tests.admin.conftest import LogIn, World
from tests.artifact_stores import use_store
from tests.cases import cases
from tests.s3 import S3Place


def test_the_addresses_load_all_pages_and_these_pass_the_system_checks() -> None:
    assert urls.urlpatterns
    assert admin.site.is_registered(Execution)
    assert run_checks(tags=[Tags.admin]) == []


def directives(answer: Any) -> dict[str, list[str]]:
    policy = answer.headers["Content-Security-Policy"]
    return {name: values for name, *values in (each.split() for each in policy.split("; "))}


@cases(
    "address",
    [
        *("/admin/login/", "/admin/nothing/", "/nothing", "/health/live", "/static/nothing.css"),
        *("/api/v1/tenants/acme/executions", "/tpf/admin/nothing"),
    ],
)
def test_every_response_has_the_security_headers(address: str, acme: World) -> None:
    answer = Client().get(address)
    policy, headers = directives(answer), answer.headers
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == ["'none'"]
    assert "'unsafe-inline'" not in policy.get("script-src", [])
    assert headers["X-Content-Type-Options"] == "nosniff"
    for name in ("Referrer-Policy", "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy"):
        assert headers[name] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]
    if not address.startswith("/admin/"):
        assert policy.keys().isdisjoint({"script-src", "connect-src"})
        assert policy["form-action"] == ["'none'"]


def test_the_admin_runs_its_own_scripts_and_only_the_upload_page_connects_to_the_artifact_store(
    log_in: LogIn, settings: Any
) -> None:
    client = log_in("superuser")
    place = S3Place("releases", region="eu-central-1", access_key_id="key", secret_access_key="key")
    for endpoint, public, style, expected in (
        ("http://s3.internal:9000", "https://s3.example/base", "path", ["https://s3.example"]),
        ("", "", "auto", ["https://releases.s3.eu-central-1.amazonaws.com", "https://releases.s3.amazonaws.com"]),
    ):
        place = replace(place, endpoint_url=endpoint, public_endpoint_url=public)
        use_store(settings, "s3", place.backend(settings.ARTIFACT_ROOT, addressing_style=style))
        assert directives(client.get(to("releases_release_upload")))["connect-src"] == ["'self'", *expected]
        policy = directives(client.get(to("index")))
        assert policy["script-src"] == ["'self'", "'unsafe-eval'"]
        assert policy["connect-src"] == policy["form-action"] == policy["font-src"] == ["'self'"]
