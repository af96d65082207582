"""The framework's command line gives up on a deployment after 60 seconds."""

import json
import time
from http.client import HTTPResponse
from pathlib import Path

from tenancy.roles import Scope
from tests.interop.deploying import MEDIA_TYPE, published
from tests.maven_repository import Fault, maven_repository
from tests.parts.web.conftest import opened, start_web
from tests.running import RunningProduct, TenantInUse, another_product

LONGEST = {"TPF_DEPLOYMENTS_ENABLED": "true", "TPF_DEPLOYMENT_WAIT_SECONDS": "50"}


def test_the_longest_wait_for_a_silent_repository_ends_before_the_client_gives_up(
    running: RunningProduct, tenant: TenantInUse, tmp_path: Path
) -> None:
    """The last byte of the body arrives late."""
    with maven_repository() as repository:
        document, repository.fault = published(repository), Fault.SILENT
        maven = {"MAVEN_REPOSITORIES": repository.toml(), "MAVEN_ALLOWED_NETWORKS": "127.0.0.0/8"}
        settings = {**running.product.settings, **LONGEST, **maven}
        path = f"/api/v1/organizations/{tenant.tenant.slug}/applications/orders/environments/production/deployments"
        head = "\r\n".join(
            (
                f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nIdempotency-Key: key",
                f"Authorization: Bearer {tenant.token([Scope.REGISTER])}\r\nContent-Type: {MEDIA_TYPE}",
                f"X-TPF-Deployment-Mode: CUSTOMER_MANAGED\r\nContent-Length: {len(document)}\r\n\r\n",
            )
        )
        with another_product(tmp_path, running.product.servers, settings) as own:
            start_web(own)
            running.kill("control-worker")  # it knows no repository, so it would reject the release
            own.start_control_worker()
            began = time.monotonic()
            with opened(own.port, head.encode() + document[:-1]) as connection:
                time.sleep(8)
                connection.sendall(document[-1:])
                connection.settimeout(60)
                response = HTTPResponse(connection)
                response.begin()
                answer = json.loads(response.read())
            assert (response.status, answer["code"]) == (503, "DEPLOYMENT_PENDING")
            assert 50 <= time.monotonic() - began < 55
            assert repository.paths
