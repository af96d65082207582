import functools
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User

from embedded.children import Child, free_port
from embedded.product import PROJECT, Product
from releases.artifacts.local_store import LocalArtifactStore
from tenancy.access import issue_token
from tenancy.models import Membership, Tenant
from tenancy.roles import Role, Scope
from tests.building import BuiltRelease as BuiltRelease
from tests.building import build as build
from tests.building import eventually as eventually
from wire.worker_keys import worker_key

PASSWORD = "correct-horse-battery-staple"
TPF_ADMIN_TOKEN, TPF_CONTROL_TOKEN = "tpf-administration-token", "tpf-control-token"
REST_PORT = free_port()
"""The port at which the running product may call a REST worker. Only one test at a time uses it."""


@functools.cache
def _hashed_password() -> str:
    """Hash the password once, because hashing is slow by design."""
    return make_password(PASSWORD)


@dataclass
class TenantInUse:
    """A tenant of the running product, with an HTTP client that has a token."""

    product: Product
    tenant: Tenant
    admin: User
    workers: list[Child] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.http = requests.Session()
        self.http.headers["Authorization"] = f"Bearer {self.token(Scope)}"

    def token(self, scopes: Iterable[Scope], name: str | None = None) -> str:
        count = self.tenant.tokens.count()
        _, plain = issue_token(self.tenant, self.admin, name or f"client-{count}", list(scopes), lifetime=None)
        return plain

    def url(self, path: str) -> str:
        return f"{self.product.url}/api/v1/tenants/{self.tenant.slug}/{path}"

    def get(self, path: str) -> Any:
        response = self.http.get(self.url(path))
        assert response.status_code == 200, response.text
        return response.json()

    def post(self, path: str, status: int = 200, **body: Any) -> Any:
        response = self.http.post(self.url(path), json=body)
        assert response.status_code == status, response.text
        return response.json()

    def upload(self, release: BuiltRelease) -> requests.Response:
        with release.descriptor.open("rb") as descriptor, release.artifact.open("rb") as artifact:
            files: dict[str, Any] = {"descriptor": descriptor, "artifact": (release.artifact.name, artifact)}
            return self.http.post(self.url(f"pipelines/{release.pipeline_id}/releases"), files=files)

    def register(self, release: BuiltRelease) -> dict[str, Any]:
        """Upload a release and wait until it is REGISTERED. Its activation then needs no worker."""
        verified = self.publish(release)
        self.change_policy(release.pipeline_id, workerGate="off")
        return verified

    def publish(self, release: BuiltRelease) -> dict[str, Any]:
        """Upload a release and wait until it is REGISTERED."""
        response = self.upload(release)
        assert response.status_code == 202, response.text

        def verdict() -> dict[str, Any] | None:
            document: dict[str, Any] = self.get(f"pipelines/{release.pipeline_id}/releases/{release.version}")
            return document if document["status"] in {"REGISTERED", "REJECTED"} else None

        verified = eventually(verdict, what="the end of the verification")
        assert verified["status"] == "REGISTERED", verified["findings"]
        return verified

    def host(self, release: BuiltRelease, worker: str) -> Child:
        """Register and activate a release, and start a worker that hosts it."""
        self.register(release)
        self.activate(release)
        return self.start_worker(release, worker)

    def change_policy(self, pipeline_id: str, **members: Any) -> None:
        response = self.http.patch(self.url(f"pipelines/{pipeline_id}"), json=members)
        assert response.status_code == 200, response.text

    def activate(self, release: BuiltRelease, reason: str = "") -> dict[str, Any]:
        path = f"pipelines/{release.pipeline_id}/activations"
        made: dict[str, Any] = self.post(path, 201, releaseVersion=release.version, reason=reason)
        return made

    def start_worker(self, release: BuiltRelease, name: str, state: str = "HEALTHY", **config: str) -> Child:
        """Start a worker that hosts `release` and wait until the coordinator reports `state`."""
        child = self.product.start_worker(
            name,
            release=release.descriptor,
            tenant=self.tenant.slug,
            key=worker_key(self.product.environment["WORKER_SECRET"], self.tenant.slug).text,
            config=config,
        )
        self.workers.append(child)
        self.wait_for_worker(name, state)
        return child

    def start_rest_worker(self, release: BuiltRelease, name: str) -> Child:
        """Start a REST worker that hosts `release`. It does not register itself."""
        command = [sys.executable, "-m", "pipelines", "worker", f"--release={release.descriptor}"]
        child = self.product.children.start(
            name,
            [*command, "--protocol=rest", f"--bind=127.0.0.1:{REST_PORT}"],
            environment={
                "PYTHONPATH": str(PROJECT),
                "PIPELINES_WORKER_KEY": worker_key(self.product.environment["WORKER_SECRET"], self.tenant.slug).text,
                "PIPELINES_TRACES_ENDPOINT": self.product.settings.get("TRACES_ENDPOINT", ""),
            },
            directory=self.product.folder,
        )
        self.workers.append(child)
        return child

    def wait_for_worker(self, name: str, state: str) -> None:
        def has_state() -> bool:
            return any(row["workerId"] == name and row["state"] == state for row in self.get("workers")["items"])

        eventually(has_state, what=f"worker {name} {state}")

    def submit(self, pipeline_id: str, value: Any, key: str, **more: Any) -> requests.Response:
        body = {"pipelineId": pipeline_id, "input": value, "idempotencyKey": key, **more}
        return self.http.post(self.url("executions"), json=body)

    def accepted(self, pipeline_id: str, value: Any, key: str) -> dict[str, Any]:
        response = self.submit(pipeline_id, value, key)
        assert response.status_code == 202, response.text
        body: dict[str, Any] = response.json()
        return body

    def eventually_accepted(self, pipeline_id: str, value: Any, key: str) -> dict[str, Any]:
        """Submit as a client does, which repeats a refused request: the heartbeat of a worker may be late."""

        def accepted() -> dict[str, Any] | None:
            response = self.submit(pipeline_id, value, key)
            assert response.status_code in {202, 503}, response.text
            body: dict[str, Any] = response.json()
            return body if response.status_code == 202 else None

        return eventually(accepted, what=f"the acceptance of {key}")

    def execution(self, execution_id: str) -> dict[str, Any]:
        document: dict[str, Any] = self.get(f"executions/{execution_id}")
        return document

    def events(self, execution_id: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.get(f"executions/{execution_id}/events?pageSize=500")["items"]
        return items

    def wait_for(self, execution_id: str, *states: str, seconds: float = 30) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            document = self.execution(execution_id)
            return document if document["status"] in states else None

        return eventually(reached, seconds=seconds, what=f"{execution_id} in {states}")

    def wait_until_begun(self, execution_id: str) -> dict[str, Any]:
        def reported() -> dict[str, Any] | None:
            document = self.execution(execution_id)
            return document if document["runningSince"] else None

        return eventually(reported, what=f"the start of {execution_id}")

    def result(self, execution_id: str) -> Any:
        return self.get(f"executions/{execution_id}/result")["result"]

    def stop_workers(self) -> None:
        for child in self.workers:
            child.stop()


@contextmanager
def another_product(
    folder: Path, servers: Mapping[str, str], settings: Mapping[str, str], **options: Any
) -> Iterator[Product]:
    """A copy of the product, none of whose processes is started. All are stopped after the block."""
    product = Product(folder / "product", servers, settings, **options)
    LocalArtifactStore(Path(product.environment["ARTIFACT_ROOT"])).set_up()
    try:
        yield product
    finally:
        product.stop()


def wait_for_web_processes(product: Product, web: Child) -> None:
    """Wait until all web processes serve. `wait_until_ready` returns when the first one does."""

    def all_serve() -> bool:
        return web.log.read_text(encoding="utf-8").count("Started worker-") == product.web_processes

    eventually(all_serve, what="all web processes")


class RunningProduct:
    """The processes of the product. `tenant` creates a separate tenant."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.url = product.url

    def kill(self, name: str) -> None:
        """Kill a process of the product, and its child processes, with SIGKILL."""
        started = self.product.children.started
        [child] = [child for child in started if child.name == name]
        child.kill()
        started.remove(child)

    def restore(self) -> None:
        """Start the control worker, the clock and the web process if a test has stopped them."""
        started = self.product.children.started
        started[:] = [child for child in started if child.running]
        names = {child.name for child in started}
        if "control-worker" not in names:
            self.product.start_control_worker()
        if "clock" not in names:
            self.product.start_clock()
        if "web" not in names:
            self.product.start_web()
            self.product.wait_until_ready()

    def user(self, username: str, **attributes: Any) -> User:
        return User.objects.create(username=username, password=_hashed_password(), is_staff=True, **attributes)

    def member(self, tenant: Tenant, role: Role, username: str | None = None) -> User:
        user = self.user(username or f"{role.value}-{tenant.slug}")
        Membership.objects.create(user=user, tenant=tenant, role=role)
        return user

    def tenant(self, slug: str) -> TenantInUse:
        tenant = Tenant.objects.create(slug=slug, name=slug)
        return TenantInUse(self.product, tenant, self.member(tenant, Role.TENANT_ADMIN))
