"""Calls the API of one tenant with a token of any scopes."""

import json
import uuid
from typing import Any

from django.contrib.auth.models import User
from rest_framework.test import APIClient

from tenancy.access import issue_token
from tenancy.models import Membership, Tenant
from tenancy.roles import Role, Scope


class Caller:
    def __init__(self, tenant: Tenant, *scopes: Scope) -> None:
        self.tenant = tenant
        admin = User.objects.create_user(f"admin-{uuid.uuid4()}")
        Membership.objects.create(user=admin, tenant=tenant, role=Role.TENANT_ADMIN)
        self.token = f"token-{uuid.uuid4()}"
        _, plain = issue_token(tenant, admin, self.token, scopes, lifetime=None)
        self.http = APIClient(HTTP_AUTHORIZATION=f"Bearer {plain}")

    def call(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """The JSON answer, which must have `status`. A `body` of bytes is sent as it is."""
        data: Any = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"/api/v1/tenants/{self.tenant.slug}/{path}"
        answer = self.http.generic(method, url, data, content_type="application/json")
        assert answer.status_code == status, answer.content
        return answer.json()

    def get(self, path: str, status: int = 200) -> Any:
        return self.call("GET", path, status=status)
