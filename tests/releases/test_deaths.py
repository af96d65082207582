"""A process that dies between two writes about a release leaves no partial change."""

import json
from collections.abc import Callable
from functools import partial

import pytest

from releases.activation.activation import activate
from releases.activation.requests.carrying_out import carry_out, carry_out_due
from releases.activation.revocation import revoke
from releases.artifacts import blobs
from releases.models import Blob, Contract
from releases.registration.registrar import register, verify_release
from tests import making
from tests.cases import returning
from tests.deaths import assert_all_or_nothing, each_death
from tests.requesting import active, candidate, let_pass, open_request, person, soon, voted

pytestmark = pytest.mark.django_db
Act = Callable[[], object]


def registration() -> Act:
    owner, made = making.tenant(), making.contract()
    data = making.archive(made)
    document = json.dumps(making.descriptor(made, data)).encode()
    return lambda: register(owner, document, [making.staged(data)], actor="user:test")


def activation() -> Act:
    release = making.registered(making.tenant())
    return lambda: activate(release, actor="user:test", operation_key="once")


def revocation() -> Act:
    release = making.active(making.tenant())
    return lambda: revoke(release, actor="user:test", reason="wrong")


def vote() -> Act:
    request = open_request(candidate(2))
    return partial(voted, request, person(request.release.pipeline.tenant))


def carried_out_request() -> Act:
    request = open_request(candidate(0), activate_at=soon())
    let_pass(request, 2)
    return lambda: carry_out(request)


def healed_blob() -> Act:
    digest = making.registered(making.tenant()).artifacts.get().digest
    blobs.record_unsound(digest, Blob.State.DAMAGED)
    return lambda: blobs.record_sound(digest, size=1, fingerprint="new")


@pytest.mark.parametrize("prepare", returning(Act, globals()))
def test_a_process_that_dies_at_any_write_changes_nothing(prepare: Callable[[], Act]) -> None:
    assert_all_or_nothing(prepare())


def test_an_approval_that_dies_before_its_activation_is_carried_out_by_the_clock() -> None:
    """The last vote is committed first. Then the release is activated, in another transaction."""
    release = candidate()
    request = open_request(release)
    voter = person(release.pipeline.tenant)
    approved = 0
    for statement in each_death(lambda: voted(request, voter)):
        request.refresh_from_db()
        assert (request.status, active(release)) in {("OPEN", "1.0"), ("APPROVED", "1.0")}, statement
        approved += request.status == "APPROVED"
        if approved == 1:
            break
    assert approved == 1
    assert carry_out_due() == 1
    request.refresh_from_db()
    assert (request.status, active(release)) == ("ACTIVATED", "2.0")
    assert voted(request, voter, round_number=1).activation.release == release


def test_a_verification_that_dies_has_no_verdict_and_is_repeated() -> None:
    """It first moves the release to VERIFYING, and then writes the verdict, findings and contract together."""
    release = making.uploaded(making.tenant())
    for statement in each_death(lambda: verify_release(release.pk)):
        release.refresh_from_db()
        assert release.status in {"UPLOADED", "VERIFYING"}, statement
        assert not Contract.objects.filter(pipeline=release.pipeline).exists(), statement
    release.refresh_from_db()
    assert (release.status, release.contract_id) == ("REGISTERED", Contract.objects.get(pipeline=release.pipeline).pk)
