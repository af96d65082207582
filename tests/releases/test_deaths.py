import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest
from django.db import DatabaseError
from django.utils import timezone

from foundation import places
from governance.activation.activation import activate
from governance.requests.requests import carry_out, carry_out_due
from governance.retirement.retirement import revoke
from releases import tasks
from releases.artifacts import blobs
from releases.artifacts.soundness import CHECK_TASK, require_sound
from releases.artifacts.store import artifact_store
from releases.errors import ArtifactMissing, ArtifactUnverified
from releases.models import Blob, Contract, Release
from releases.registration.registrar import VERIFY_TASK, register
from releases.registration.verification import verify_release
from tests import making
from tests.cases import cases, returning
from tests.deaths import assert_all_or_nothing, each_death
from tests.few_places import limited
from tests.raw_sql import raised, refuse
from tests.requesting import active, candidate, let_pass, open_request, person, soon, voted
from tests.wakeups import LATER, Broker, names

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
        assert (making.reread(request).status, active(release)) in {("OPEN", "1.0"), ("APPROVED", "1.0")}, statement
        approved += request.status == "APPROVED"
        if approved == 1:
            break
    assert approved == 1
    assert carry_out_due() == 1
    assert (making.reread(request).status, active(release)) == ("ACTIVATED", "2.0")
    assert voted(request, voter, round_number=1).activation.release == release


def test_a_verification_that_dies_has_no_verdict_and_is_repeated() -> None:
    """It first moves the release to VERIFYING, and then writes the verdict, findings and contract together."""
    release = making.uploaded(making.tenant())
    for statement in each_death(lambda: verify_release(release.pk)):
        assert making.reread(release).status in {"UPLOADED", "VERIFYING"}, statement
        assert not Contract.objects.filter(pipeline=release.pipeline).exists(), statement
    release.refresh_from_db()
    assert (release.status, release.contract_id) == ("REGISTERED", Contract.objects.get(pipeline=release.pipeline).pk)


@cases("lost", [False, True])
def test_uploads_are_verified_one_after_the_other_or_found_by_the_sweep(broker: Broker, lost: bool) -> None:
    owner = making.tenant()
    making.uploaded(owner, "1.0")
    with limited(places.RELEASES, 1), places.RELEASES.hold():
        assert names(broker.after(tasks.verify)) == [VERIFY_TASK + LATER], "there was no place"
    messages = broker.after(lambda: making.uploaded(owner, "2.0"))
    assert names(messages) == [VERIFY_TASK]
    if lost:
        Release.objects.update(status_changed_at=timezone.now() - timedelta(minutes=3))
        messages = broker.after(tasks.sweep)
        assert names(messages) == [VERIFY_TASK] * 2
    broker.deliver(messages)
    assert list(Release.objects.values_list("status", flat=True)) == ["REGISTERED"] * 2


@cases("missing", [True, False])
def test_a_submission_that_finds_changed_bytes_announces_a_check(broker: Broker, missing: bool) -> None:
    release = making.registered(making.tenant())
    digest = release.artifacts.get().digest
    path = making.stored_file(digest)
    path.chmod(0o644)
    path.unlink() if missing else path.write_bytes(path.read_bytes())
    submit = partial(raised, ArtifactMissing if missing else ArtifactUnverified, require_sound, release)
    assert names(broker.after(submit)) == [CHECK_TASK]
    with limited(places.ARTIFACTS, 1), places.ARTIFACTS.hold():
        messages = broker.after(lambda: tasks.check_blob(digest))
    assert names(messages) == [CHECK_TASK + LATER], "there was no place"
    broker.deliver(messages)
    blob, stat = Blob.objects.get(), artifact_store().stat(digest)
    assert blob.state == ("MISSING" if missing else "SOUND")
    assert stat is None or stat.fingerprint == blob.fingerprint


def test_a_verification_that_fails_announces_the_next_one(broker: Broker) -> None:
    owner = making.tenant()
    failing, other = making.uploaded(owner, "1.0"), making.uploaded(owner, "2.0")
    refuse("releases_release", "UPDATE", f"NEW.id = {failing.pk} AND NEW.status = 'REGISTERED'")
    broker.deliver(broker.after(partial(raised, DatabaseError, tasks.verify)))
    assert Release.objects.get(pk=failing.pk).status == "VERIFYING"
    assert Release.objects.get(pk=other.pk).status == "REGISTERED"
