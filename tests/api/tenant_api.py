import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import jsonschema  # type: ignore[import-untyped]
from django.apps import apps
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from rest_framework.test import APIClient

from coordinator.library_settings import PROBLEM
from executions.models import Execution
from releases.models import Release
from tenancy.access import issue_token
from tenancy.models import ApiToken, AuditEntry, AuditHead, Membership, Tenant
from tenancy.roles import IMPLIED, Role, Scope
from tests import making

AUDIT = {AuditEntry, AuditHead}
IS_PROBLEM = jsonschema.Draft202012Validator(PROBLEM)


@dataclass
class TenantApi:
    """A tenant with an active release, a worker and an execution, and a client with a token of all scopes."""

    tenant: Tenant
    admin: User
    release: Release
    execution: Execution
    client: Client = field(default_factory=Client)
    all_scopes: str = field(init=False)

    def __post_init__(self) -> None:
        self.all_scopes = self.token(*Scope)

    def token(self, *scopes: Scope, lifetime: timedelta | None = None) -> str:
        name = f"client-{self.tenant.tokens.count()}"
        _, plain = issue_token(self.tenant, self.admin, name, scopes, lifetime=lifetime)
        return plain

    def url(self, path: str) -> str:
        """Return the URL of `path`. Placeholders are replaced by the names of this tenant's objects."""
        names = {
            "pipeline_id": making.PIPELINE,
            "release_version": self.release.release_version,
            "execution_id": self.execution.pk,
        }
        return f"/api/v1/tenants/{self.tenant.slug}/{path.format(**names)}"

    def call(self, method: str, url: str, body: Any = None, *, token: str | None = None, **more: Any) -> Any:
        """Send a request. `body` is bytes, a form if it contains files, or a value to send as JSON."""
        headers = {"Authorization": f"Bearer {self.all_scopes if token is None else token}", **more.pop("headers", {})}
        if is_form(body):
            return self.client.post(url, body, headers=headers, **more)
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        return self.client.generic(
            method, url, data, more.pop("content_type", "application/json"), headers=headers, **more
        )

    def get(self, path: str, **more: Any) -> Any:
        return self.call("GET", self.url(path), **more)

    def post(self, path: str, body: Any = None, **more: Any) -> Any:
        return self.call("POST", self.url(path), body, **more)

    def patch(self, path: str, body: Any, **more: Any) -> Any:
        return self.call("PATCH", self.url(path), body, **more)

    def without(self, *scopes: Scope) -> str:
        left_out = {*scopes, *(scope for scope, implied in IMPLIED.items() if implied in scopes)}
        return self.token(*(scope for scope in Scope if scope not in left_out))


def tenant_api() -> TenantApi:
    tenant, release = making.ready()
    making.lasting(tenant)
    admin = User.objects.create_user(f"admin-{tenant.slug}")
    Membership.objects.create(user=admin, tenant=tenant, role=Role.TENANT_ADMIN)
    return TenantApi(tenant, admin, release, making.execution(tenant, "first"))


def is_form(body: Any) -> bool:
    values = body.values() if isinstance(body, dict) else ()
    return any(
        isinstance(value[0] if value and isinstance(value, list) else value, SimpleUploadedFile) for value in values
    )


def upload(version: str = "2.0", **changes: Any) -> dict[str, Any]:
    contract = making.contract()
    data = making.archive(contract, code=version)
    document = {**making.descriptor(contract, data, version), **changes}
    return {"descriptor": file(json.dumps(document).encode(), "pipeline-release.json"), "artifact": file(data)}


def file(data: bytes, name: str = "app.zip") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, data)


def everything() -> list[tuple[str, str]]:
    """Return table and text of all rows of the product, except for the last use of tokens, and the audit log.

    The audit log contains also the acts that were denied and changed nothing else.
    """
    apps_models = (apps.get_app_config(app).get_models() for app in ("tenancy", "releases", "executions", "alerts"))
    tables = [
        model._meta.db_table for models in apps_models for model in models if model._meta.managed and model not in AUDIT
    ]
    changing = {ApiToken._meta.db_table: " - 'last_used_at'"}
    rows = (f"SELECT '{table}', (to_jsonb(r){changing.get(table, '')})::text FROM {table} r" for table in tables)
    with connection.cursor() as cursor:
        cursor.execute(f"{' UNION ALL '.join(rows)} ORDER BY 1, 2")
        return list(cursor.fetchall())


@contextmanager
def unchanged() -> Iterator[None]:
    before = everything()
    yield
    assert everything() == before


def refused(response: Any, status: int, code: str) -> dict[str, Any]:
    """Return the problem document of a response. It must have the common shape, the status and the code."""
    assert response.status_code == status, response.content
    assert response.headers["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = json.loads(response.content)
    IS_PROBLEM.validate(document)
    assert document["code"] == code, document
    assert document["status"] == status
    assert document["type"] == f"urn:durable-coordinator:problem:{code}"
    assert document["title"]
    assert document["detail"]
    return document


def fields(document: dict[str, Any]) -> dict[str, str]:
    return {error["field"]: error["code"] for error in document.get("errors", ())}


class Caller:
    """A client of one tenant's API with a token of the given scopes."""

    def __init__(self, tenant: Tenant, *scopes: Scope) -> None:
        self.tenant = tenant
        admin = User.objects.create_user(f"admin-{uuid.uuid4()}")
        Membership.objects.create(user=admin, tenant=tenant, role=Role.TENANT_ADMIN)
        self.token = f"token-{uuid.uuid4()}"
        _, plain = issue_token(tenant, admin, self.token, scopes, lifetime=None)
        self.http = APIClient(HTTP_AUTHORIZATION=f"Bearer {plain}")

    def call(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """Return the JSON of the response, which must have `status`. `body` is bytes, or a value to send as JSON."""
        data: Any = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"/api/v1/tenants/{self.tenant.slug}/{path}"
        response = self.http.generic(method, url, data, content_type="application/json")
        assert response.status_code == status, response.content
        return response.json()

    def get(self, path: str, status: int = 200) -> Any:
        return self.call("GET", path, status=status)

    def patch(self, path: str, body: Any, status: int = 200) -> Any:
        return self.call("PATCH", path, body, status)

    def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        return self.call("POST", path, body, status)
