"""Registers a release with a deployment API, as the framework's client does.

It accepts only what the published protocol promises, and shares no code with the product.
"""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from tests.parts.clients.tpf_client import closure, strict_json
from tests.parts.clients.tpf_client.closure import ResolverProfile
from tests.parts.clients.tpf_client.credentials import bearer
from tests.parts.clients.tpf_client.descriptor import Descriptor, parse
from tests.parts.clients.tpf_client.exchange import ExchangeFailed, Response, exchange
from tests.parts.clients.tpf_client.failures import NotAuthorised, TargetFailed

MEDIA_TYPE = "application/vnd.tpf.pipeline-release+json"
RESPONSE_SECONDS = 60
REGISTERED = "REGISTERED"
MODE = "CUSTOMER_MANAGED"


@dataclass(frozen=True, slots=True)
class CloudTarget:
    """Where a release is registered. `credential` is the name of a credential, not the credential."""

    endpoint: str
    organization: str
    application: str
    environment: str
    credential: str


def deploy(data: bytes, target: CloudTarget, profile: ResolverProfile, environment: Mapping[str, str]) -> str:
    """Verify the release with this descriptor, register it, and return the id of the deployment.

    Credentials are read from `environment`.
    """
    release = parse(data)
    closure.verify(release, profile)
    key = idempotency_key(release.digest, target.environment)
    return register(target, release, key, bearer(target.credential, environment))


def idempotency_key(descriptor_digest: str, environment: str) -> str:
    """Return the key of a deployment: a version 3 UUID of the digest and of the environment's name.

    The name is the one in the configuration, not the one at the target. The same release in the same environment has
    the same key, so that a repeated command is a repeated request.
    """
    # Unlike `uuid.uuid3`, this UUID has no namespace.
    named = hashlib.md5(f"{descriptor_digest}:{environment}".encode(), usedforsecurity=False)
    return str(uuid.UUID(bytes=named.digest(), version=3))


def register(target: CloudTarget, release: Descriptor, key: str, bearer: str) -> str:
    """Send the descriptor's bytes and return the id of the deployment. Raises `NotAuthorised` and `TargetFailed`."""
    headers = {
        "Authorization": f"Bearer {bearer}",
        "Content-Type": MEDIA_TYPE,
        "Idempotency-Key": key,
        "X-TPF-Deployment-Mode": MODE,
    }
    try:
        response = exchange("POST", deployments_url(target), headers, release.data, seconds=RESPONSE_SECONDS)
    except ExchangeFailed as error:
        raise TargetFailed(str(error)) from None
    return _deployment_id(response)


def deployments_url(target: CloudTarget) -> str:
    """Return the URL for a target. The base path and the query of the endpoint are kept."""
    endpoint = urlsplit(target.endpoint)
    path = (
        f"/api/v1/organizations/{_encoded(target.organization)}/applications/{_encoded(target.application)}"
        f"/environments/{_encoded(target.environment)}/deployments"
    )
    query = f"?{endpoint.query}" if endpoint.query else ""
    return f"{endpoint.scheme}://{endpoint.netloc}{endpoint.path.removesuffix('/')}{path}{query}"


def _encoded(part: str) -> str:
    return quote(part, safe="*").replace("~", "%7E")


def _deployment_id(response: Response) -> str:
    if response.status in (401, 403):
        raise NotAuthorised(f"the target denies access (status {response.status})")
    if response.status != 201:
        raise TargetFailed(f"the target responds with status {response.status}")
    try:
        document = strict_json.read(response.body)
    except ValueError:
        document = None
    if response.media_type != "application/json" or not isinstance(document, dict):
        raise TargetFailed("the response is no JSON object")
    deployment_id = document.get("deploymentId")
    if document.keys() != {"deploymentId", "status"} or document["status"] != REGISTERED:
        raise TargetFailed(f"the response must have the members deploymentId and status, and the status {REGISTERED}")
    if not isinstance(deployment_id, str) or not deployment_id.strip():
        raise TargetFailed("deploymentId must be a text")
    return deployment_id
