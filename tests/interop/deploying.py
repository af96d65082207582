import json
import uuid
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from django.contrib.auth.models import User
from django.test import Client

from foundation.api.problem import TYPE
from releases.models import Deployment, Pipeline, Release
from releases.registration.verification import verify_release
from tenancy.access import issue_token
from tenancy.models import Membership, Tenant
from tenancy.roles import Role, Scope
from tests import making
from tests.maven_repository import MavenRepository
from tests.releases.registration import located

MEDIA_TYPE = "application/vnd.tpf.pipeline-release+json"
CONTRACT = making.contract(capabilities={"localTransitionExecution": True, "transitionWorkerProtocols": ["rest"]})


def published(repository: MavenRepository, version: str = "1.0", **changes: Any) -> bytes:
    """Publish a JAR, and return a descriptor of it. `changes` are members of the artifact."""
    uri, data = f"maven:com.acme:orders:{version}", making.archive(CONTRACT, code=version)
    repository.publish(uri, data)
    document = located.carrier(CONTRACT, data, version, **{"uri": uri} | changes)
    return json.dumps(document, indent=2).encode() + b"\n"


def token(owner: Tenant, *scopes: Scope) -> str:
    """Return an API token with these scopes, or with the one that a deployment needs."""
    admin = User.objects.create_user(f"admin-{uuid.uuid4()}")
    Membership.objects.create(user=admin, tenant=owner, role=Role.TENANT_ADMIN)
    name = f"ci-{owner.tokens.count()}"
    _, plain = issue_token(owner, admin, name, scopes or (Scope.REGISTER,), lifetime=None)
    return plain


@dataclass
class Deployer:
    """Calls the deployment API as `tpf deploy` does. `organization` and `bearer` are the defaults."""

    organization: str
    bearer: str
    application: str = "orders"
    environment: str = "production"
    headers: dict[str, str] = field(default_factory=dict)

    def call(self, document: bytes, key: str = "key", *, method: str = "POST", **changes: Any) -> Any:
        """Return the response. `changes` are parts of the path, bearer, media type, headers or `environ`."""
        parts = {
            name: changes.pop(name, getattr(self, name)) for name in ("organization", "application", "environment")
        }
        encoded = {name: quote(value, safe="") for name, value in parts.items()}
        path = (
            f"/api/v1/organizations/{encoded['organization']}/applications/{encoded['application']}"
            f"/environments/{encoded['environment']}/deployments"
        )
        headers = {
            "Authorization": f"Bearer {changes.pop('bearer', self.bearer)}",
            "Content-Type": changes.pop("media_type", MEDIA_TYPE),
            "Idempotency-Key": key,
            "X-TPF-Deployment-Mode": "CUSTOMER_MANAGED",
            **changes.pop("headers", {}),
        }
        environ = changes.pop("environ", {})
        assert not changes
        sent = {name: value for name, value in headers.items() if value is not None}
        return Client(raise_request_exception=False).generic(method, path, document, headers=sent, **environ)

    def deploy(self, document: bytes, key: str = "key", **changes: Any) -> str:
        """Deploy a release whose verdict is there, and return the id of the deployment."""
        answer = self.call(document, key, **changes)
        assert answer.status_code == 201, (answer.status_code, answer.content)
        assert answer.headers["Content-Type"] == "application/json"
        body = answer.json()
        assert body == {"deploymentId": str(uuid.UUID(body["deploymentId"])), "status": "REGISTERED"}
        return str(body["deploymentId"])

    def deploy_new(self, document: bytes, key: str = "key", **changes: Any) -> str:
        assert refusal(self.call(document, key, **changes)) == (503, "DEPLOYMENT_PENDING")
        verify_all()
        return self.deploy(document, key, **changes)


def deployed(release: Release, environment: str = "production", key: str = "", **changes: Any) -> Deployment:
    """Write the receipt of a deployment of the release, which must be verified."""
    Pipeline.objects.filter(pk=release.pipeline_id, application="").update(application="shop")
    pipeline = Pipeline.objects.get(pk=release.pipeline_id)
    members: dict[str, Any] = {
        "tenant": pipeline.tenant,
        "idempotency_key": key or f"{release.descriptor_digest}:{environment}",
        "release": release,
        "descriptor_digest": release.descriptor_digest,
        "application": pipeline.application,
        "environment": environment,
        "actor": "token:test",
    }
    return Deployment.objects.create(**members | changes)


def verify_all() -> None:
    for release in Release.objects.filter(status__in=("UPLOADED", "VERIFYING")):
        verify_release(release.pk)


def refusal(answer: Any) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json", answer.content
    body = answer.json()
    assert (body["status"], body["type"]) == (answer.status_code, TYPE + body["code"])
    return answer.status_code, body["code"]


def nothing_is_stored() -> bool:
    return not (Pipeline.objects.exists() or Release.objects.exists() or Deployment.objects.exists())
