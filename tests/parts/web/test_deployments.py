"""The framework's command line gives up on a deployment after 60 seconds."""

import time
from io import BytesIO
from pathlib import Path

import requests

from tenancy.roles import Scope
from tests.interop.deploying import MEDIA_TYPE, published
from tests.maven_repository import Fault, maven_repository
from tests.parts.web.conftest import start_web
from tests.running import RunningProduct, TenantInUse, another_product

PATH = "/api/v1/organizations/{}/applications/orders/environments/production/deployments"
HEADERS = {"Idempotency-Key": "key", "Content-Type": MEDIA_TYPE, "X-TPF-Deployment-Mode": "CUSTOMER_MANAGED"}


class Late(BytesIO):
    """A body that is sent late."""

    def read(self, size: int | None = -1) -> bytes:
        time.sleep(0 if self.tell() else 8)
        return super().read(size)


def test_the_longest_wait_for_a_silent_repository_ends_before_the_client_gives_up(
    running: RunningProduct, tenant: TenantInUse, tmp_path: Path
) -> None:
    with maven_repository() as repository:
        document, repository.fault = published(repository), Fault.SILENT
        maven = {"MAVEN_REPOSITORIES": repository.toml(), "MAVEN_ALLOWED_NETWORKS": "127.0.0.0/8"}
        longest = {"TPF_DEPLOYMENTS_ENABLED": "true", "TPF_DEPLOYMENT_WAIT_SECONDS": "50"}
        settings = {**running.product.settings, **longest, **maven}
        with another_product(tmp_path, running.product.servers, settings) as own:
            start_web(own)
            running.kill("control-worker")  # it knows no repository, so it would reject the release
            own.start_control_worker()
            headers = {**HEADERS, "Authorization": f"Bearer {tenant.token([Scope.REGISTER])}"}
            began, url = time.monotonic(), own.url + PATH.format(tenant.tenant.slug)
            answer = requests.post(url, data=Late(document), headers=headers, timeout=60)
            assert 50 <= time.monotonic() - began < 55
            assert (answer.status_code, answer.json()["code"]) == (503, "DEPLOYMENT_PENDING")
            assert repository.paths
