import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, cast

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from psycopg import sql

from executions.models import Execution
from executions.models.states import TERMINAL
from executions.submission.submission import ExecutionRequest, Submission, submit_many
from foundation.places import Places
from governance.activation.activation import activate
from governance.retirement.retirement import Order, fail_open, retire, revoke
from releases.artifacts.store import artifact_store
from releases.errors import DeploymentPending, NoActiveRelease, RetirementBlocked
from releases.models import ArtifactUpload, Blob, Contract, Deployment, Pipeline, Release, Retirement, Revocation
from releases.registration.deployments import DeploymentRequest, deploy
from releases.registration.progress import UPLOADS
from releases.registration.registrar import Registration, register
from releases.registration.verification import verify_release
from tenancy.models import Tenant
from tests import gradual, making, signing
from tests.concurrency.sessions import another_session, ended_after, race, results_of, stopped_at_row
from tests.releases.registration import located
from tests.releases.registration.sending import opened
from tests.repetition import rounds

ROUNDS = rounds(5)


def test_concurrent_activations_are_a_sequence_without_a_gap() -> None:
    owner = making.tenant()
    releases = [making.registered(owner, f"{number}.0") for number in range(4)]
    made = results_of(race(*[partial(activate, release, actor="user:x", reason="race") for release in releases * 2]))
    events = sorted(made, key=lambda event: event.sequence)
    assert [event.sequence for event in events] == list(range(1, 9))
    assert [event.previous_id for event in events] == [None, *[event.release_id for event in events[:-1]]]
    times = [event.activated_at for event in events]
    assert times == sorted(times)
    for event in events:
        returns = event.release_id in {earlier.release_id for earlier in events[: event.sequence - 1]}
        assert event.is_rollback is (returns and event.release_id != event.previous_id)
    assert making.reread(releases[0].pipeline).activation == events[-1]


@pytest.mark.parametrize("table", ["releases_release", "releases_deployment"])
def test_a_deployment_that_waits_for_a_lock_fails_before_its_client_gives_up(table: str) -> None:
    document = located.descriptor()
    release = making.upload(owner := making.tenant(), document, located.JAR).release
    making.verified(release)
    if table == "releases_release":
        document = {**document, "releaseVersion": "2.0"}
    request = DeploymentRequest(json.dumps(document).encode(), "shop", "production", "key")
    began = time.monotonic()
    with another_session() as other:
        other.execute(sql.SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(sql.Identifier(table)))
        with pytest.raises(OperationalError):
            deploy(owner, request, actor="token:ci", deadline=began - 10)
        connection.close()
    assert time.monotonic() - began < 5
    with pytest.raises(DeploymentPending) if table == "releases_release" else nullcontext():
        deploy(owner, request, actor="token:ci", deadline=began)
    assert Deployment.objects.count() == (table == "releases_deployment")


CONTRACT = making.contract()
DATA = making.archive(CONTRACT)
DESCRIPTOR = making.descriptor(CONTRACT, DATA)


def uploading(owner: Tenant, document: dict[str, Any], *files: bytes) -> Any:
    """Return a call that registers the files. They are staged before the race, as by two requests that stream."""
    staged = [making.staged(data) for data in files]
    return partial(register, owner, json.dumps(document).encode(), staged, actor="user:x")


@pytest.mark.parametrize("_", ROUNDS)
def test_concurrent_equal_uploads_are_one_release_of_one_pipeline(_: int) -> None:
    owner = making.tenant()
    made: list[Registration] = results_of(race(*[uploading(owner, DESCRIPTOR, DATA) for _ in range(4)]))
    assert len({upload.release.pk for upload in made}) == 1
    assert sorted(upload.created for upload in made) == [False, False, False, True]
    assert Release.objects.count() == Pipeline.objects.count() == Blob.objects.count() == 1
    assert list(artifact_store().staging.iterdir()) == []


def test_the_attachments_of_the_later_of_two_equal_uploads_are_stored() -> None:
    owner = making.tenant()
    envelopes = [signing.envelope(DESCRIPTOR, name) for name in ("a", "b")]
    calls = [partial(uploading(owner, DESCRIPTOR, DATA), attached=[envelope]) for envelope in envelopes]
    later = ended_after(*calls).result()
    assert not later.created
    assert [bytes(attachment.content) for attachment in later.release.attachments.all()] == envelopes


def test_the_later_of_two_uploads_does_not_add_a_different_contract() -> None:
    owner = making.tenant()
    with_contract = partial(uploading(owner, DESCRIPTOR, DATA), contract=json.dumps(CONTRACT).encode())
    error = ended_after(uploading(owner, DESCRIPTOR, DATA), with_contract).exception()
    assert type(error).__name__ == "ReleaseConflict"


def test_a_direct_upload_that_another_process_has_just_claimed_is_skipped() -> None:
    upload = opened(making.tenant(), making.digest_of(DATA))
    row = ArtifactUpload.objects.filter(pk=upload.pk)
    row.update(status="VERIFYING", status_changed_at=timezone.now())

    def take() -> Any:
        with UPLOADS.turns(Places()).take() as due:
            return due

    assert ended_after(lambda: row.update(claimed_at=timezone.now()), take).result() is None


@pytest.mark.parametrize("_", ROUNDS)
def test_of_two_concurrent_documents_of_a_contract_version_one_is_rejected(_: int) -> None:
    owner = making.tenant()
    releases = []
    for version, name in (("1.0", "Validate"), ("2.0", "Renamed")):
        document = {**CONTRACT, "steps": [{**making.STEP, "authoredName": name}]}
        data = making.archive(document)
        releases.append(making.upload(owner, making.descriptor(document, data, version), data).release)
    results_of(race(*[partial(verify_release, release.pk) for release in releases]))
    statuses = {release.status: release for release in Release.objects.all()}
    assert set(statuses) == {"REGISTERED", "REJECTED"}
    assert "CONTRACT_CONFLICT" in [finding["code"] for finding in statuses["REJECTED"].findings]
    assert statuses["REGISTERED"].contract == Contract.objects.get()


# --- retirements and revocations ---

WHY: dict[str, Any] = {"actor": "user:ann", "reason": "replaced"}
OPEN = sorted({"QUEUED", "RUNNING", "WAIT_RETRY", "WAITING_EXTERNAL"} - {state.value for state in TERMINAL})


def submitting(owner: Any, *keys: str) -> Callable[[], Any]:
    requests = [ExecutionRequest(making.PIPELINE, {"n": 1}, key) for key in keys]
    return partial(submit_many, owner, requests, actor="token:test")


def require_sound(release: Release) -> None:
    release.refresh_from_db()
    is_open = Execution.objects.filter(release=release, status__in=OPEN).exists()
    assert not (release.status == "RETIRED" and is_open)
    assert (release.status == "RETIRED") is Retirement.objects.filter(release=release).exists()


def test_a_retirement_waits_for_a_submission_that_has_not_committed_and_counts_it() -> None:
    owner, release = making.ready()
    newer = gradual.candidate(owner)

    def submit_late() -> None:
        submitting(owner, "late")()
        results_of(race(partial(activate, newer, actor="user:test")))

    with pytest.raises(RetirementBlocked, match="QUEUED 1"):
        ended_after(submit_late, partial(retire, release, **WHY)).result()
    require_sound(release)


@pytest.mark.parametrize("_", rounds(20))
def test_an_order_to_fail_misses_no_submission(_: int) -> None:
    owner, release = making.ready()

    def order() -> None:
        revoke(release, **WHY, open_executions=Order.FAIL)
        fail_open()

    calls = [submitting(owner, *(f"{name}{number}" for number in range(10))) for name in "abcd"]
    assert race(*calls, order)[-1] is None
    made = Execution.objects.filter(release=release)
    assert not made.filter(status__in=OPEN).exists()
    event = Revocation.objects.get()
    assert event.completed_at is not None
    assert event.failed_executions == made.count()


def test_an_order_to_fail_is_complete_only_if_a_submission_that_read_the_release_before_finds_it_revoked() -> None:
    owner, first = making.ready()
    _, release = making.ready(owner, pipeline_id="other")
    requests = [ExecutionRequest(pipeline_id, {"n": 1}, "key") for pipeline_id in (making.PIPELINE, "other")]
    with stopped_at_row(first, partial(submit_many, owner, requests, actor="token:test")) as stopped:
        revoke(release, **WHY, open_executions=Order.FAIL)
        fail_open()
        submitted, refused = cast("list[object]", stopped.finish())
    assert isinstance(submitted, Submission)
    assert isinstance(refused, NoActiveRelease), refused
    assert not Execution.objects.filter(release=release).exists()
