"""What the admin API rejects or hides, and what it records."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from executions.models import Worker
from executions.workers.eligibility import CHECK_TASK
from interop.admin import VERDICT_WAIT_SECONDS
from releases.activation.revocation import revoke
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.broker import taken
from tests.cases import cases
from tests.executions.transports.rest.order_flow import Flow
from tests.interop.client import call, ok, refused, switch_on
from tests.interop.registering import base, register, written
from tests.interop.test_admin import WORKER

pytestmark = pytest.mark.django_db


def revoked(owner: Tenant, path: Path) -> Release:
    assert register(owner, path).status_code == 200
    release = Release.objects.get(pipeline__tenant=owner)
    revoke(release, actor="user:ada", reason="It is broken.")
    return release


def test_a_revoked_release_is_neither_listed_nor_activated(root: Path, owner: Tenant) -> None:
    version = revoked(owner, written(root)).release_version
    assert ok("GET", f"{base(owner)}/releases") == []
    assert refused(call("GET", f"{base(owner)}/releases/{version}")) == (404, "")
    assert refused(call("POST", f"{base(owner)}/releases/{version}/activate")) == (404, "")


def test_a_revoked_release_is_not_registered_again(root: Path, owner: Tenant) -> None:
    path = written(root)
    version = revoked(owner, path).release_version
    assert refused(register(owner, path)) == (409, f"Release {version} is REVOKED")


def test_the_workers_of_a_release_are_checked_after_its_registration(
    root: Path, owner: Tenant, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    taken("control")
    with django_capture_on_commit_callbacks(execute=True):
        register(owner, written(root))
    assert CHECK_TASK in {task for queue in ("control", "rest") for task, _ in taken(queue)}


@cases("host", ["elsewhere", "127.0.0.1"])
def test_an_artifact_uri_of_another_host_is_rejected(root: Path, owner: Tenant, host: str) -> None:
    path = written(root, uri=f"file://{host}{root}/app.jar")
    assert refused(register(owner, path)) == (400, "Release JAR artifact must point to a readable local file")


def test_a_registration_that_fails_leaves_no_staged_file(root: Path, owner: Tenant, settings: Any) -> None:
    path = written(root)
    document = json.loads(path.read_text())
    large = making.archive(making.contract(), code="x" * 100_000)
    (root / "large.jar").write_bytes(large)
    (first,) = document["artifacts"]
    more = {"artifactId": "large", "uri": str(root / "large.jar"), "digest": making.digest_of(large)}
    path.write_text(json.dumps({**document, "artifacts": [first, {**first, **more}]}))
    settings.MAX_ARTIFACT_BYTES = 50_000
    before = set(settings.ARTIFACT_ROOT.rglob("*"))
    status, text = refused(register(owner, path))
    assert (status, text.startswith("Failed to inspect release artifact")) == (400, True), text
    assert {file for file in set(settings.ARTIFACT_ROOT.rglob("*")) - before if file.is_file()} == set()


def test_workers_of_another_tenant_are_not_listed(root: Path, owner: Tenant) -> None:
    other = making.tenant()
    ok("POST", f"{base(other)}/workers/register", WORKER)
    assert ok("GET", f"{base(owner)}/workers") == []


def test_a_worker_drains_since_the_first_request(root: Path, owner: Tenant) -> None:
    ok("POST", f"{base(owner)}/workers/register", WORKER)
    first, second = timezone.now().replace(microsecond=0), timezone.now()
    for by_itself, by_operator in ((first, second), (second, first)):
        Worker.objects.filter(tenant=owner).update(draining_since=by_itself, drained_by_operator_at=by_operator)
        (shown,) = ok("GET", f"{base(owner)}/workers")
        assert shown["drainingSinceEpochMs"] == int(first.timestamp() * 1000)


def test_a_registration_of_a_worker_waits_for_the_verdict_of_its_check(flow: Flow, settings: Any) -> None:
    switch_on(settings)
    address = f"admin/tenants/{flow.owner.slug}/pipelines/{flow.release.pipeline.pipeline_id}/workers/register"
    body = {
        "workerId": "w-new",
        "contractVersion": flow.release.contract_version,
        "releaseVersion": flow.release.release_version,
        "protocol": "rest",
        "endpoint": flow.worker.endpoint,
    }
    began = time.monotonic()
    ok("POST", address, body)
    assert time.monotonic() - began >= VERDICT_WAIT_SECONDS
