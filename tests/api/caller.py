import json
import uuid
from typing import Any

from django.contrib.auth.models import User
from rest_framework.test import APIClient

from tenancy.access import issue_token
from tenancy.models import Membership, Tenant
from tenancy.roles import Role, Scope


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
