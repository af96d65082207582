"""Concurrent uploads, verifications and activations."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from foundation.scheduling.places import Places
from releases import queries
from releases.activation.activation import activate
from releases.activation.rollback import roll_back
from releases.artifacts.store import artifact_store
from releases.models import Activation, ArtifactUpload, Blob, Contract, Pipeline, Release
from releases.registration.registrar import Registration, register, verify_release
from releases.registration.turns import of_releases, of_uploads
from tenancy.models import Tenant
from tests import making, signing
from tests.concurrency.racing import parted, race, results_of
from tests.concurrency.test_operators import in_a_thread, wait_for_a_blocked_session
from tests.repetition import rounds

pytestmark = pytest.mark.usefixtures("committed")
ROUNDS = rounds(5)


def newest(pipeline: Pipeline) -> Activation | None:
    return Pipeline.objects.select_related("activation").get(pk=pipeline.pk).activation


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
        returns = event.release_id in {each.release_id for each in events[: event.sequence - 1]}
        assert event.is_rollback is (returns and event.release_id != event.previous_id)
    assert newest(releases[0].pipeline) == events[-1]


@pytest.mark.parametrize("_", ROUNDS)
def test_of_two_activations_that_expect_the_same_release_one_succeeds(_: int) -> None:
    owner = making.tenant()
    first = making.active(owner, "1.0")
    rivals = [making.registered(owner, f"2.{number}") for number in range(2)]
    won, lost = parted(race(*[partial(activate, rival, actor="", expected_release_version="1.0") for rival in rivals]))
    assert (len(won), lost) == (1, ["ActiveReleaseChanged"])
    assert newest(first.pipeline) == won[0]
    assert Activation.objects.filter(pipeline=first.pipeline).count() == 2


@pytest.mark.parametrize("_", ROUNDS)
def test_concurrent_repeats_of_an_operation_are_one_event(_: int) -> None:
    release = making.registered(making.tenant())
    made = results_of(race(*[partial(activate, release, actor="", operation_key="k")] * 4))
    assert len({event.pk for event in made}) == 1
    assert Activation.objects.filter(pipeline=release.pipeline).count() == 1


def rolling_back(owner: Tenant, **more: Any) -> Any:
    """Return a call that rolls back in one step. It reads the pipeline when it is called."""

    def call() -> Activation:
        pipeline = queries.pipeline(owner, making.PIPELINE)
        return roll_back(pipeline, **{"actor": "", "reason": "it fails", "recent_only": True, **more})

    return call


@pytest.mark.parametrize("_", ROUNDS)
def test_of_a_rollback_and_an_activation_that_expect_the_same_release_one_succeeds(_: int) -> None:
    owner = making.tenant()
    making.active(owner, "1.0")
    second = making.active(owner, "2.0")
    third = making.registered(owner, "3.0")
    expected: dict[str, Any] = {"expected_release_version": "2.0"}
    won, lost = parted(race(rolling_back(owner, **expected), partial(activate, third, actor="", **expected)))
    assert (len(won), lost) == (1, ["ActiveReleaseChanged"])
    assert newest(second.pipeline) == won[0]
    assert Activation.objects.filter(pipeline=second.pipeline).count() == 3


def test_an_activation_that_waited_for_the_lock_is_not_older_than_the_one_before_it() -> None:
    """Its transaction began earlier, so its start would be a wrong time."""
    owner = making.tenant()
    first, second = [making.registered(owner, f"{number}.0") for number in range(2)]
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            Pipeline.objects.select_for_update().get(pk=first.pipeline_id)
            waiting = pool.submit(in_a_thread, partial(activate, second, actor=""))
            wait_for_a_blocked_session()
            made = activate(first, actor="")
        later = waiting.result(timeout=30)
    assert (made.sequence, later.sequence) == (1, 2)
    assert made.activated_at <= later.activated_at


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
    assert len({each.release.pk for each in made}) == 1
    assert sorted(each.created for each in made) == [False, False, False, True]
    assert Release.objects.count() == Pipeline.objects.count() == Blob.objects.count() == 1
    assert list(artifact_store().staging.iterdir()) == []


@pytest.mark.parametrize("_", ROUNDS)
def test_concurrent_different_uploads_of_one_version_are_one_release_and_a_conflict(_: int) -> None:
    owner = making.tenant()
    other = {**DESCRIPTOR, "artifacts": [{**DESCRIPTOR["artifacts"][0], "uri": "elsewhere"}]}
    won, lost = parted(race(uploading(owner, DESCRIPTOR, DATA), uploading(owner, other, DATA)))
    assert (len(won), lost) == (1, ["ReleaseConflict"])
    assert Release.objects.get().descriptor["artifacts"][0]["uri"] == won[0].release.descriptor["artifacts"][0]["uri"]


@contextmanager
def after_another(first: Any, second: Any) -> Iterator[list[Any]]:
    """Run `first` after `second` has found no release of the version. The list contains the results of both."""
    made: list[Any] = []
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            made.append(first())
            late = pool.submit(race, second)
            wait_for_a_blocked_session()
        made += late.result(30)
    yield made


def test_the_attachments_of_the_later_of_two_equal_uploads_are_stored() -> None:
    owner = making.tenant()
    envelopes = [signing.envelope(DESCRIPTOR, name) for name in ("a", "b")]
    calls = [partial(uploading(owner, DESCRIPTOR, DATA), attached=[each]) for each in envelopes]
    with after_another(*calls) as (first, second):
        assert (first.created, second.created) == (True, False)
        assert [bytes(each.content) for each in first.release.attachments.all()] == envelopes


def test_the_later_of_two_uploads_does_not_add_a_different_contract() -> None:
    owner = making.tenant()
    with_contract = partial(uploading(owner, DESCRIPTOR, DATA), contract=json.dumps(CONTRACT).encode())
    with after_another(uploading(owner, DESCRIPTOR, DATA), with_contract) as made:
        assert parted(made)[1] == ["ReleaseConflict"]


@pytest.mark.parametrize("_", ROUNDS)
def test_uploads_of_the_same_files_in_another_order_do_not_deadlock(_: int) -> None:
    files = [DATA, *[making.archive(None, code=str(number)) for number in range(8)]]
    document = {
        **DESCRIPTOR,
        "artifacts": [
            {**DESCRIPTOR["artifacts"][0], "artifactId": str(number), "digest": making.digest_of(data)}
            for number, data in enumerate(files)
        ],
    }
    for owner in [making.tenant(), making.tenant()]:
        making.upload(owner, {**document, "releaseVersion": "0.9"}, *files)
    owners = list(Tenant.objects.all())
    made = results_of(race(uploading(owners[0], document, *files), uploading(owners[1], document, *files[::-1])))
    assert [each.created for each in made] == [True, True]


def test_concurrent_verifications_have_one_verdict() -> None:
    release = making.upload(making.tenant(), DESCRIPTOR, DATA).release
    results_of(race(*[partial(verify_release, release.pk)] * 4))
    release.refresh_from_db()
    assert (release.status, release.findings) == ("REGISTERED", [])
    assert release.contract == Contract.objects.get()


@pytest.mark.parametrize("_", ROUNDS)
def test_two_processes_never_get_the_same_turn(_: int) -> None:
    for number in range(6):
        data = making.archive(CONTRACT, code=str(number))
        making.upload(making.tenant(), making.descriptor(CONTRACT, data, f"{number}.0"), data)

    def take() -> list[int]:
        found, turns = [], of_releases(Places())
        for _ in range(6):
            with turns.take() as due:
                found.append(due)
        return [due for due in found if due is not None]

    results = results_of(race(*[take] * 3))
    assert sorted(pk for found in results for pk in found) == sorted(Release.objects.values_list("pk", flat=True))


def test_a_direct_upload_that_another_process_has_just_claimed_is_skipped() -> None:
    upload = ArtifactUpload.objects.create(
        tenant=making.tenant(),
        digest=making.digest_of(DATA),
        size=1,
        part_size=1,
        status="OPEN",
        expires_at=timezone.now(),
    )
    row = ArtifactUpload.objects.filter(pk=upload.pk)
    row.update(status="VERIFYING", status_changed_at=timezone.now())

    def take() -> Any:
        with of_uploads(Places()).take() as due:
            return due

    with after_another(lambda: row.update(claimed_at=timezone.now()), take) as taken:
        assert taken == [1, None]


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
