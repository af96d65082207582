"""The security headers of every response: which scripts may run, who may embed the page, and what it may use."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.test import Client
from django.urls import reverse

from embedded.product import PROJECT
from tests.admin.conftest import LogIn, World
from tests.artifact_stores import use_store
from tests.cases import cases
from tests.s3 import S3Place

STRICT = "default-src 'none'"
ADDRESSES = (
    *("/admin/login/", "/admin/nothing/", "/nothing", "/", "/health/live", "/api/schema/", "/api/nothing"),
    *("/api/v1/tenants/acme/executions", "/api/v1/resume", "/tpf/admin/nothing", "/static/nothing.css"),
)


def directives(answer: Any) -> dict[str, list[str]]:
    policy = answer.headers["Content-Security-Policy"]
    return {name: values for name, *values in (each.split() for each in policy.split("; "))}


@cases("address", ADDRESSES)
def test_every_response_has_the_security_headers(address: str, acme: World) -> None:
    answer = Client().get(address)
    policy = directives(answer)
    assert policy["default-src"] == ["'none'"]
    assert policy["base-uri"] == policy["frame-ancestors"] == ["'none'"]
    assert "'unsafe-inline'" not in policy.get("script-src", [])
    headers = answer.headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]
    if not address.startswith("/admin/"):
        assert "script-src" not in policy
        assert "connect-src" not in policy
        assert policy["form-action"] == ["'none'"]


def test_the_admin_allows_only_scripts_from_its_own_files(log_in: LogIn) -> None:
    policy = directives(log_in("superuser").get(reverse("admin:index")))
    assert policy["script-src"] == ["'self'", "'unsafe-eval'"]
    assert policy["connect-src"] == policy["form-action"] == policy["font-src"] == ["'self'"]


def test_only_the_upload_page_may_connect_to_the_artifact_store(log_in: LogIn, settings: Any) -> None:
    client = log_in("superuser")
    place = S3Place("releases", region="eu-central-1", access_key_id="key", secret_access_key="key")
    for endpoint, public, style, expected in (
        ("http://s3.internal:9000", "", "path", ["http://s3.internal:9000"]),
        ("http://s3.internal:9000", "https://s3.example/base", "path", ["https://s3.example"]),
        ("http://s3.internal:9000", "https://s3.example", "virtual", ["https://releases.s3.example"]),
        ("", "", "auto", ["https://releases.s3.eu-central-1.amazonaws.com", "https://releases.s3.amazonaws.com"]),
    ):
        place = replace(place, endpoint_url=endpoint, public_endpoint_url=public)
        use_store(settings, "s3", place.backend(settings.ARTIFACT_ROOT, addressing_style=style))
        upload = directives(client.get(reverse("admin:releases_release_upload")))
        assert upload["connect-src"] == ["'self'", *expected]
        assert directives(client.get(reverse("admin:index")))["connect-src"] == ["'self'"]


def test_no_template_of_ours_has_an_inline_script() -> None:
    for path in sorted(Path(PROJECT, "templates").rglob("*.html")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"<script(?![^>]*\ssrc=)", text), path
        assert not re.search(r"\son[a-z]+=", text), path
        assert "javascript:" not in text, path
