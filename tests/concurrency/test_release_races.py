"""Uploads, verifications and activations at the same time, over connections of their own."""

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
from releases.activation.activation import activate
from releases.artifacts.store import artifact_store
from releases.models import Activation, ArtifactUpload, Blob, Contract, Pipeline, Release
from releases.registration.registrar import Registration, register, verify_release
from releases.registration.turns import of_releases, of_uploads
from tenancy.models import Tenant
from tests import making, signing
from tests.concurrency.racing import parted, race, results_of
from tests.concurrency.test_operators import wait_until_somebody_waits_for_a_lock

pytestmark = pytest.mark.usefixtures("committed")
ROUNDS = range(5)


def newest(pipeline: Pipeline) -> Activation | None:
    return Pipeline.objects.select_related("activation").get(pk=pipeline.pk).activation


def test_activations_at_once_become_a_sequence_without_a_gap() -> None:
    owner = making.tenant()
    releases = [making.registered(owner, f"{number}.0") for number in range(4)]
    made = results_of(race(*[partial(activate, release, actor="user:x") for release in releases * 2]))
    events = sorted(made, key=lambda event: event.sequence)
    assert [event.sequence for event in events] == list(range(1, 9))
    assert [event.previous_id for event in events] == [None, *[event.release_id for event in events[:-1]]]
    assert newest(releases[0].pipeline) == events[-1]


@pytest.mark.parametrize("_", ROUNDS)
def test_of_two_that_expect_the_same_release_one_activates(_: int) -> None:
    owner = making.tenant()
    first = making.active(owner, "1.0")
    rivals = [making.registered(owner, f"2.{number}") for number in range(2)]
    won, lost = parted(race(*[partial(activate, rival, actor="", expected_release_version="1.0") for rival in rivals]))
    assert (len(won), lost) == (1, ["ActiveReleaseChanged"])
    assert newest(first.pipeline) == won[0]
    assert Activation.objects.filter(pipeline=first.pipeline).count() == 2


@pytest.mark.parametrize("_", ROUNDS)
def test_an_operation_that_is_sent_twice_at_once_is_one_event(_: int) -> None:
    release = making.registered(making.tenant())
    made = results_of(race(*[partial(activate, release, actor="", operation_key="k")] * 4))
    assert len({event.pk for event in made}) == 1
    assert Activation.objects.filter(pipeline=release.pipeline).count() == 1


def test_an_operation_key_for_two_releases_at_once_goes_to_one() -> None:
    owner = making.tenant()
    releases = [making.registered(owner, f"{number}.0") for number in range(2)]
    won, lost = parted(race(*[partial(activate, release, actor="", operation_key="k") for release in releases]))
    assert (len(won), lost) == (1, ["OperationKeyReused"])


CONTRACT = making.contract()
DATA = making.archive(CONTRACT)
DESCRIPTOR = making.descriptor(CONTRACT, DATA)


def uploading(owner: Tenant, document: dict[str, Any], *files: bytes) -> Any:
    """Everything is staged before the race, as it would be while two requests stream in."""
    staged = [making.staged(data) for data in files]
    return partial(register, owner, json.dumps(document).encode(), staged, actor="user:x")


@pytest.mark.parametrize("_", ROUNDS)
def test_equal_uploads_at_once_are_one_release_even_of_a_pipeline_that_is_new(_: int) -> None:
    owner = making.tenant()
    made: list[Registration] = results_of(race(*[uploading(owner, DESCRIPTOR, DATA) for _ in range(4)]))
    assert len({each.release.pk for each in made}) == 1
    assert sorted(each.created for each in made) == [False, False, False, True]
    assert Release.objects.count() == Pipeline.objects.count() == Blob.objects.count() == 1
    assert list(artifact_store().staging.iterdir()) == []


@pytest.mark.parametrize("_", ROUNDS)
def test_different_uploads_of_one_version_at_once_are_one_release_and_a_conflict(_: int) -> None:
    owner = making.tenant()
    other = {**DESCRIPTOR, "artifacts": [{**DESCRIPTOR["artifacts"][0], "uri": "elsewhere"}]}
    won, lost = parted(race(uploading(owner, DESCRIPTOR, DATA), uploading(owner, other, DATA)))
    assert (len(won), lost) == (1, ["ReleaseConflict"])
    assert Release.objects.get().descriptor["artifacts"][0]["uri"] == won[0].release.descriptor["artifacts"][0]["uri"]


@contextmanager
def after_another(first: Any, second: Any) -> Iterator[list[Any]]:
    """`second` has found no release of the version when `first` commits one. The list gets what both return."""
    made: list[Any] = []
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            made.append(first())
            late = pool.submit(race, second)
            wait_until_somebody_waits_for_a_lock()
        made += late.result(30)
    yield made


def test_what_the_later_of_two_equal_uploads_attaches_is_kept() -> None:
    owner = making.tenant()
    envelopes = [signing.envelope(DESCRIPTOR, name) for name in ("a", "b")]
    calls = [partial(uploading(owner, DESCRIPTOR, DATA), attached=[each]) for each in envelopes]
    with after_another(*calls) as (first, second):
        assert (first.created, second.created) == (True, False)
        assert [bytes(each.content) for each in first.release.attachments.all()] == envelopes


def test_the_later_of_two_uploads_brings_no_other_contract_document() -> None:
    owner = making.tenant()
    with_contract = partial(uploading(owner, DESCRIPTOR, DATA), contract=json.dumps(CONTRACT).encode())
    with after_another(uploading(owner, DESCRIPTOR, DATA), with_contract) as made:
        assert parted(made)[1] == ["ReleaseConflict"]


@pytest.mark.parametrize("_", ROUNDS)
def test_uploads_of_the_same_files_in_another_order_do_not_wait_for_each_other_in_a_circle(_: int) -> None:
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


def test_a_verification_that_runs_many_times_at_once_has_one_verdict() -> None:
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


def test_a_direct_upload_that_another_process_has_just_claimed_is_not_taken() -> None:
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
def test_two_documents_of_one_contract_version_verified_at_once_are_one_contract_and_a_conflict(_: int) -> None:
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
