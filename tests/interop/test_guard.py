from pathlib import Path
from typing import Any

import pytest
from django.test import Client, override_settings

from tenancy.models import Tenant
from tests.cases import cases
from tests.interop.client import ADMIN, CONTROL, call, refused

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tpf")]
ADDRESSES = [
    ("POST", "admin/tenants/t/pipelines/p/releases/register"),
    ("GET", "admin/tenants/t/pipelines/p/releases"),
    ("GET", "admin/tenants/t/pipelines/p/releases/active"),
    ("GET", "admin/tenants/t/pipelines/p/releases/sha256:abc"),
    ("POST", "admin/tenants/t/pipelines/p/releases/sha256:abc/activate"),
    ("GET", "admin/tenants/t/pipelines/p/current-activation"),
    ("POST", "admin/tenants/t/pipelines/p/activation-operations"),
    ("GET", "admin/tenants/t/pipelines/p/activation-operations/k"),
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
    "activation": "Release admin token is unavailable",
    "workers": "Worker lifecycle admin token is unavailable",
    "redrive": "Execution admin token is unavailable",
    "control-plane": "Hosted control-plane admin token is unavailable",
}
RELEASES = "admin/tenants/t/pipelines/p/releases"
ONE_OF_EACH = [RELEASES, "control-plane/tenants/t/interactions/pending"]
"""An address of each surface, for which all spellings of a token are tried."""


def own_token(path: str) -> str:
    return ADMIN if path.startswith("admin") else CONTROL


@cases(("method", "path"), ADDRESSES)
def test_a_surface_requires_its_token_and_a_disabled_one_is_not_found(method: str, path: str, settings: Any) -> None:
    valid, other = own_token(path), CONTROL if own_token(path) == ADMIN else ADMIN
    wrong = ["", f"Bearer {other}"]
    if path in ONE_OF_EACH:
        wrong += ["Bearer ", valid, f"bearer {valid}", f"Basic {valid}"]
        wrong += [f"Bearer {token}" for token in (f"{valid}x", valid[:-1], f"#{valid[1:]}")]
    for header in wrong:
        assert refused(call(method, path, Authorization=header)) == (401, ""), header
    assert call(method, path, Authorization=f"Bearer  {valid} ").status_code != 401
    blank = path.replace("tenants/t/", "tenants/%20/")
    assert refused(call(method, blank, token="")) == (400, "tenantId is required")
    with override_settings(TPF_ADMIN_ENABLED=False, TPF_CONTROL_PLANE_ENABLED=False):
        for token in (valid, ""):
            assert refused(call(method, path, token=token)) == (404, "")


@cases(("method", "path"), ADDRESSES)
def test_a_token_may_be_a_line_of_a_file_and_is_unavailable_without_it(method: str, path: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    [text] = [text for part, text in UNAVAILABLE.items() if part in path]
    references = {"TPF_ADMIN_TOKEN_REF": f"file:{file}", "TPF_CONTROL_PLANE_TOKEN_REF": f"file:{file}"}
    with override_settings(TPF_ADMIN_TOKEN="", TPF_CONTROL_PLANE_TOKEN="", **references):
        assert refused(call(method, path)) == (503, text)
        assert refused(call(method, path, token="")) == (401, "")
        file.write_text("old-token-for-all\n\n new-token-for-all \nshort\n")
        for token in ("old-token-for-all", "new-token-for-all"):
            assert call(method, path, token=token).status_code not in {401, 503}
        assert refused(call(method, path, token="short")) == (401, "")
        assert refused(call(method, path)) == (401, "")


@cases(("method", "path"), ADDRESSES)
def test_a_tenants_token_is_valid_only_for_that_tenant(method: str, path: str, settings: Any) -> None:
    settings.TPF_ADMIN_TENANT_TOKENS = settings.TPF_CONTROL_PLANE_TENANT_TOKENS = {"t": ["one", "two"], "u": ["other"]}
    for shared in ({}, {"TPF_ADMIN_TOKEN": "", "TPF_CONTROL_PLANE_TOKEN": ""}):
        with override_settings(**shared):
            for token in ("one", "two"):
                assert call(method, path, token=token).status_code not in {401, 503}
                for tenant in ("u", "T", "tt", "%20u") if path in ONE_OF_EACH else ("u",):
                    elsewhere = path.replace("tenants/t/", f"tenants/{tenant}/")
                    assert refused(call(method, elsewhere, token=token)) == (401, "")
            assert refused(call(method, path, token="other")) == (401, "")


def test_tenants_are_created_only_if_the_settings_say_so(settings: Any) -> None:
    worker = {"workerId": "w", "contractVersion": "c", "releaseVersion": "r", "protocol": "rest"}
    path = "admin/tenants/new-tenant/pipelines/p/workers/register"
    assert refused(call("GET", RELEASES.replace("/p/", "/p%00/"))) == (404, "")
    assert refused(call("POST", path, worker)) == (404, "Not Found")
    settings.TPF_CREATE_TENANTS = True
    assert call("GET", "admin/tenants/new-tenant/pipelines/p/workers").json() == []
    assert not Tenant.objects.exists()
    assert call("POST", path, worker).status_code == 200
    assert Tenant.objects.get().slug == "new-tenant"
    status, text = refused(call("POST", path.replace("new-tenant", "Not_A_Slug"), worker))
    assert (status, text.startswith("tenantId is not acceptable")) == (400, True)


@cases(
    ("method", "path", "status"),
    [
        *(
            ("GET", path, 404)
            for path in ("/tpf", "/tpf/", "/%2Ftpf/x", "/tpf/admin/tenants/t", "/pipeline/x", "/q/health")
        ),
        *(("POST", f"/tpf/{RELEASES}/{end}", 404) for end in ("", "a%2Fb/c", "1/activate/", "1/deactivate")),
        *((method, f"/tpf/{RELEASES}", 405) for method in ("POST", "PUT", "DELETE", "OPTIONS")),
        ("POST", "/api/v1/organizations/acme/deployments/", 404),
    ],
)
def test_an_unknown_address_gets_an_error_in_the_form_of_its_surface(method: str, path: str, status: int) -> None:
    client = Client(enforce_csrf_checks=True, headers={"Authorization": f"Bearer {ADMIN}"})
    form = "application/problem+json" if path.startswith("/api") else "application/json"
    answer = client.generic(method, path)
    assert (answer.status_code, answer.headers["Content-Type"], b"<" in answer.content) == (status, form, False)
    elsewhere = client.generic(method, path, headers={"Host": "elsewhere.example"})
    assert (elsewhere.status_code, elsewhere.headers["Content-Type"]) == (400, form)
