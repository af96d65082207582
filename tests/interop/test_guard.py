"""Authentication of the compatibility surface (wire protocol B.1)."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.interop.client import ADMIN, CONTROL, call, refused, switch_on

pytestmark = pytest.mark.django_db
ADDRESSES = [
    ("POST", "admin/tenants/t/pipelines/p/releases/register"),
    ("GET", "admin/tenants/t/pipelines/p/releases"),
    ("GET", "admin/tenants/t/pipelines/p/releases/active"),
    ("GET", "admin/tenants/t/pipelines/p/releases/sha256:abc"),
    ("POST", "admin/tenants/t/pipelines/p/releases/sha256:abc/activate"),
    ("POST", "admin/tenants/t/pipelines/p/workers/register"),
    ("POST", "admin/tenants/t/pipelines/p/workers/w/heartbeat"),
    ("POST", "admin/tenants/t/pipelines/p/workers/w/drain"),
    ("GET", "admin/tenants/t/pipelines/p/workers"),
    ("POST", "admin/tenants/t/executions/e/redrive"),
    ("POST", "control-plane/tenants/t/executions"),
    ("GET", "control-plane/tenants/t/executions/e"),
    ("GET", "control-plane/tenants/t/executions/e/result"),
    ("GET", "control-plane/tenants/t/interactions/pending"),
    ("POST", "control-plane/tenants/t/interactions/complete"),
]
UNAVAILABLE = {
    "releases": "Release admin token is unavailable",
    "workers": "Worker lifecycle admin token is unavailable",
    "redrive": "Execution admin token is unavailable",
    "control-plane": "Hosted control-plane admin token is unavailable",
}


@cases(("method", "path"), ADDRESSES)
def test_a_disabled_surface_is_not_found_even_with_a_valid_token(method: str, path: str, settings: Any) -> None:
    switch_on(settings)
    settings.TPF_ADMIN_ENABLED = settings.TPF_CONTROL_PLANE_ENABLED = False
    assert refused(call(method, path)) == (404, "")
    assert refused(call(method, path, token="")) == (404, "")


@cases(("method", "path"), ADDRESSES)
def test_an_enabled_surface_requires_its_own_token(method: str, path: str, settings: Any) -> None:
    switch_on(settings)
    other = CONTROL if path.startswith("admin") else ADMIN
    own = ADMIN if path.startswith("admin") else CONTROL
    for header in (
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        own,
        f"bearer {own}",
        f"Basic {own}",
        f"Bearer {other}",
        f"Bearer {own}x",
    ):
        assert refused(call(method, path, Authorization=header)) == (401, ""), header
    assert call(method, path, Authorization=f"Bearer  {own} ").status_code != 401


@cases(("method", "path"), ADDRESSES)
def test_a_blank_name_is_reported_before_the_token_is_checked(method: str, path: str, settings: Any) -> None:
    switch_on(settings)
    assert refused(call(method, path.replace("tenants/t/", "tenants/%20/"), token="")) == (400, "tenantId is required")


@cases(("method", "path"), ADDRESSES)
def test_a_token_that_cannot_be_resolved_is_unavailable(method: str, path: str, settings: Any, tmp_path: Path) -> None:
    switch_on(settings)
    settings.TPF_ADMIN_TOKEN = settings.TPF_CONTROL_PLANE_TOKEN = ""
    file = tmp_path / "token"
    for reference in ("env:NO_SUCH_VARIABLE_HERE", f"file:{file}"):
        settings.TPF_ADMIN_TOKEN_REF = settings.TPF_CONTROL_PLANE_TOKEN_REF = reference
        [text] = [text for part, text in UNAVAILABLE.items() if part in path]
        assert refused(call(method, path)) == (503, text)
        assert refused(call(method, path, token="")) == (401, "")
    file.write_text("from-a-file\n")
    assert call(method, path, token="from-a-file").status_code not in {401, 503}


def test_a_token_may_come_from_the_environment(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    switch_on(settings)
    settings.TPF_ADMIN_TOKEN, settings.TPF_ADMIN_TOKEN_REF = "", "env:OUR_TOKEN"
    monkeypatch.setenv("OUR_TOKEN", "from-the-environment")
    path = "admin/tenants/t/pipelines/p/releases"
    assert call("GET", path, token="from-the-environment").json() == []
    assert refused(call("GET", path)) == (401, "")


def test_the_health_url_needs_neither_a_token_nor_a_surface(settings: Any) -> None:
    settings.STATIC_ROOT.mkdir(exist_ok=True)
    answer = Client().get("/q/health/live")
    assert (answer.status_code, answer.json()["status"]) == (200, "UP")


def test_unknown_urls_and_methods_are_rejected(settings: Any) -> None:
    switch_on(settings)
    assert call("DELETE", "admin/tenants/t/pipelines/p/releases").status_code == 405
    assert call("GET", "admin/tenants/t/pipelines/p/releases/register/x").status_code == 404
    assert refused(call("GET", "admin/tenants/t/pipelines/p%00/releases")) == (404, "")


def test_tenants_are_created_only_if_the_settings_say_so(settings: Any, name: str) -> None:
    switch_on(settings)
    worker = {"workerId": "w", "contractVersion": "c", "releaseVersion": "r", "protocol": "rest"}
    path = f"admin/tenants/{name}/pipelines/p/workers/register"
    assert refused(call("POST", path, worker)) == (404, "Not Found")
    settings.TPF_CREATE_TENANTS = True
    assert call("GET", f"admin/tenants/{name}/pipelines/p/workers").json() == []
    assert not Tenant.objects.filter(slug=name).exists()
    assert call("POST", path, worker).status_code == 200
    assert Tenant.objects.filter(slug=name).exists()
    status, text = refused(call("POST", path.replace(name, "Not_A_Slug"), worker))
    assert (status, text.startswith("tenantId is not acceptable")) == (400, True)


def test_a_tenant_does_not_see_the_rows_of_another(settings: Any) -> None:
    switch_on(settings)
    owner, release = making.ready()
    made = making.execution(owner)
    other = making.tenant()
    path = f"control-plane/tenants/{other.slug}/executions/{made.pk}"
    assert refused(call("GET", path)) == (404, "Not Found")
    assert refused(call("GET", f"{path}/result")) == (404, "Not Found")
    pipeline = release.pipeline.pipeline_id
    assert call("GET", f"admin/tenants/{other.slug}/pipelines/{pipeline}/releases").json() == []
    assert refused(call("GET", f"admin/tenants/{other.slug}/pipelines/{pipeline}/releases/1.0")) == (404, "")
    assert refused(call("POST", f"admin/tenants/{other.slug}/pipelines/{pipeline}/workers/worker-1/drain")) == (404, "")


@cases(("method", "path"), ADDRESSES)
def test_a_tenants_token_is_valid_only_for_that_tenant(method: str, path: str, settings: Any) -> None:
    switch_on(settings)
    settings.TPF_ADMIN_TENANT_TOKENS = settings.TPF_CONTROL_PLANE_TENANT_TOKENS = {"t": ["one", "two"], "u": ["other"]}
    for shared in (True, False):
        if not shared:
            settings.TPF_ADMIN_TOKEN = settings.TPF_CONTROL_PLANE_TOKEN = ""
        for token in ("one", "two"):
            assert call(method, path, token=token).status_code not in {401, 503}
            for tenant in ("u", "t%20x", "T", "tt", "%20u"):
                elsewhere = path.replace("tenants/t/", f"tenants/{tenant}/")
                assert refused(call(method, elsewhere, token=token)) == (401, "")
        assert refused(call(method, path, token="other")) == (401, "")
        assert refused(call(method, path, token="onetwo")) == (401, "")


@cases("path", ["admin/tenants/t/pipelines/p/releases", "control-plane/tenants/t/interactions/pending"])
def test_every_character_of_a_token_counts(path: str, settings: Any) -> None:
    switch_on(settings)
    settings.TPF_ADMIN_TENANT_TOKENS = settings.TPF_CONTROL_PLANE_TENANT_TOKENS = {"t": ["tenant-token"]}
    for token in (ADMIN if path.startswith("admin") else CONTROL, "tenant-token"):
        assert call("GET", path, token=token).status_code == 200
        wrong = [token[:length] for length in range(1, len(token))]
        wrong += [token[:place] + "#" + token[place + 1 :] for place in range(len(token))]
        for each in (*wrong, token[1:], token + "x", token.upper(), token + token):
            assert refused(call("GET", path, token=each)) == (401, "")


def test_a_tenants_token_is_valid_only_for_its_surface(settings: Any) -> None:
    switch_on(settings)
    settings.TPF_ADMIN_TENANT_TOKENS = {"t": ["one"]}
    assert refused(call("GET", "control-plane/tenants/t/executions/e", token="one")) == (401, "")


def test_a_tenants_token_needs_no_reference_to_the_other_tokens(settings: Any) -> None:
    switch_on(settings)
    settings.TPF_ADMIN_TOKEN, settings.TPF_ADMIN_TOKEN_REF = "", "env:NO_SUCH_VARIABLE_HERE"
    settings.TPF_ADMIN_TENANT_TOKENS = {"t": ["one"]}
    path = "admin/tenants/t/pipelines/p/releases"
    assert call("GET", path, token="one").status_code == 200
    assert refused(call("GET", path, token="wrong")) == (503, UNAVAILABLE["releases"])


def test_each_line_of_a_file_is_a_token(settings: Any, tmp_path: Path) -> None:
    switch_on(settings)
    file = tmp_path / "tokens"
    settings.TPF_ADMIN_TOKEN, settings.TPF_ADMIN_TOKEN_REF = "", f"file:{file}"
    path = "admin/tenants/t/pipelines/p/releases"
    file.write_text("old\n\n new \n")
    assert {call("GET", path, token=token).status_code for token in ("old", "new")} == {200}
    file.write_text("new\n")
    assert refused(call("GET", path, token="old")) == (401, "")
