"""Each lock is held during the writes that it protects, and released afterwards.

A second session blocks the call before it writes, and a third one checks the locks.
"""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import cast

import pytest
from django.db import OperationalError, transaction
from django.db.models import Model
from django.utils import timezone

from executions.models import (
    AwaitUnit,
    CampaignItem,
    Execution,
    ExecutionEvent,
    Hold,
    Interaction,
    Resubmission,
    Worker,
    WorkerKeyChange,
)
from releases.artifacts import blob_lock, blobs, retention
from releases.artifacts.store import artifact_store
from releases.errors import ArtifactStoreUnavailable
from releases.models import (
    Activation,
    Artifact,
    Attachment,
    Blob,
    BlobEvent,
    BlobLease,
    Contract,
    GradualActivation,
    Release,
    Retirement,
    Vote,
)
from tenancy.models import Tenant
from tests import making
from tests.building import eventually
from tests.concurrency import scenes
from tests.concurrency.scenes import Scene
from tests.concurrency.sessions import (
    advisory_locks,
    digest_lock,
    leases,
    locked,
    race,
    results_of,
    stopped_before_reading,
    stopped_before_writing,
    thread,
)


@dataclass(frozen=True)
class Lock:
    """The call of `scene` locks its rows before it writes to the table `before`.

    Other sessions cannot lock them FOR `against`. `leaves` is the weaker lock that they can still take.
    """

    scene: Callable[[], Scene]
    before: type[Model]
    against: str = "NO KEY UPDATE"
    leaves: str = ""


ROW_LOCKS = {
    "an activation locks the pipeline": Lock(scenes.activation, Activation),
    "an activation locks the keys, so that none is revoked": Lock(
        scenes.activation_with_keys, Activation, against="KEY SHARE"
    ),
    "a gradual activation locks the pipeline": Lock(scenes.gradual_start, GradualActivation),
    "its steps lock the pipeline": Lock(scenes.gradual_step, GradualActivation),
    "its promotion locks the pipeline": Lock(scenes.gradual_promotion, GradualActivation),
    "its withdrawal locks the pipeline": Lock(scenes.gradual_withdrawal, GradualActivation),
    "a vote locks pipeline and request": Lock(scenes.last_vote, Vote),
    "an approved activation locks pipeline and request": Lock(scenes.due_request, Activation),
    "a revocation locks the pipeline": Lock(scenes.revocation, Release),
    "a revocation that pauses locks the pipeline before it pauses": Lock(scenes.revocation_that_pauses, Hold),
    "a retirement locks pipeline and release": Lock(scenes.retirement, Retirement),
    "a retirement excludes submissions": Lock(scenes.retirement_of_release, Retirement, against="KEY SHARE"),
    "an order to fail locks revocation and executions": Lock(scenes.ordered_failures, ExecutionEvent),
    "a re-drive keeps its release from being retired": Lock(
        scenes.redrive_of_one, ExecutionEvent, against="UPDATE", leaves="NO KEY UPDATE"
    ),
    "an attachment locks the release": Lock(scenes.attachment, Attachment),
    "a verdict locks the release": Lock(scenes.verification, Contract, leaves="KEY SHARE"),
    "a healed blob is locked": Lock(scenes.healing, BlobEvent),
    "a sound blob is locked": Lock(scenes.sound_bytes, Blob),
    "a damaged blob is locked": Lock(scenes.damaged_bytes, BlobEvent),
    "a missing blob is locked": Lock(scenes.missing_bytes, BlobEvent),
    "an outcome locks its executions": Lock(scenes.recording, ExecutionEvent),
    "a checkpoint locks its executions": Lock(scenes.recording_checkpoints, ExecutionEvent),
    "a campaign that re-drives is locked with the executions": Lock(scenes.campaign_advance, Execution),
    "a campaign is locked while it is drafted": Lock(scenes.campaign_drafting, CampaignItem),
    "a resubmission locks pipeline and execution": Lock(scenes.resubmission, Resubmission),
    "a campaign that cancels locks the executions": Lock(scenes.campaign_of_cancellations, CampaignItem),
    "a campaign that pauses locks the pipelines and the executions": Lock(scenes.campaign_of_pauses, CampaignItem),
    "a campaign that resubmits locks pipeline and executions": Lock(scenes.campaign_of_resubmissions, Resubmission),
    "a removal locks the executions": Lock(scenes.removal, Execution, against="KEY SHARE"),
    "an answer locks execution, unit and interaction": Lock(scenes.answering, Interaction),
    "a webhook that is given up locks execution and unit": Lock(scenes.giving_up_a_webhook, AwaitUnit),
    "a deadline locks the execution": Lock(scenes.timing_out, Interaction),
    "a cancellation locks execution and unit": Lock(scenes.cancelling, Interaction),
    "a first heartbeat locks the tenant": Lock(scenes.first_heartbeat, Worker, leaves="KEY SHARE"),
    "a heartbeat locks the worker": Lock(scenes.heartbeat, Worker),
    "a heartbeat after silence locks tenant and worker": Lock(scenes.heartbeat_of_a_silent_worker, Worker),
    "the admission of a REST worker locks tenant and worker": Lock(scenes.admission_of_a_rest_worker, Worker),
    "the end of an interruption locks the workers": Lock(scenes.end_of_an_interruption, Execution),
    "a new key locks the tenant": Lock(scenes.key_start, WorkerKeyChange, leaves="KEY SHARE"),
    "a revoked key locks the tenant": Lock(scenes.key_revocation, WorkerKeyChange, leaves="KEY SHARE"),
    "a replaced key locks the tenant": Lock(scenes.key_replacement, WorkerKeyChange, leaves="KEY SHARE"),
}


@pytest.mark.parametrize("lock", ROW_LOCKS.values(), ids=ROW_LOCKS)
def test_rows_are_locked_until_the_call_has_written(lock: Lock) -> None:
    call, rows = lock.scene()
    with stopped_before_writing(lock.before, call) as stopped:
        assert locked(rows, against=lock.against) == list(rows)
        if lock.leaves:
            assert locked(rows, against=lock.leaves) == []
        stopped.finish()
        assert stopped.locks() == 0


# --- digests ---


DIGEST_LOCKS = {
    "a registration": (scenes.registration, Release, "shared"),
    "an upload that heals": (scenes.healing, BlobEvent, "shared"),
    "a sound verdict": (scenes.sound_bytes, Blob, "shared"),
    "a verdict of damage": (scenes.damaged_bytes, BlobEvent, "alone"),
    "a verdict of absence": (scenes.missing_bytes, BlobEvent, "alone"),
    "a removal": (scenes.removal_of_bytes, Blob, "alone"),
}


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(("scene", "before", "mode"), DIGEST_LOCKS.values(), ids=DIGEST_LOCKS)
def test_a_write_locks_its_digest(scene: Callable[[], Scene], before: type[Model], mode: str, fails: bool) -> None:
    call, [blob] = scene()
    with stopped_before_writing(before, call) as stopped:
        assert digest_lock(str(blob.pk)) == mode
        assert digest_lock(making.digest_of(b"others")) == "free"
        stopped.fail() if fails else stopped.finish()
        assert (stopped.locks(), leases()) == (0, 0)


DIGESTS = [making.digest_of(text) for text in (b"a", b"b", b"c")]


def test_digests_are_released_if_one_of_them_is_not_available() -> None:
    [*_, last] = sorted(DIGESTS)

    def share() -> int:
        with pytest.raises(ArtifactStoreUnavailable), blob_lock.shared(DIGESTS, timeout=0):
            pass
        return leases()

    with blob_lock.exclusive(last):
        assert results_of(race(share)) == [1]


def test_a_lease_that_another_session_holds_is_not_released() -> None:
    def try_alone() -> bool:
        with blob_lock.exclusive(DIGESTS[0]) as held:
            return held is not None

    with blob_lock.shared(DIGESTS[:1]):
        assert results_of(race(try_alone)) == [False]
        assert digest_lock(DIGESTS[0]) == "shared"


def age_leases() -> None:
    """Let the time of all leases pass, as if their processes were killed or suspended."""
    BlobLease.objects.update(expires_at=timezone.now() - timedelta(seconds=1))


def test_leases_of_a_killed_process_end_after_their_time() -> None:
    for taken in (partial(blob_lock.shared, DIGESTS), partial(blob_lock.exclusive, DIGESTS[0])):
        with taken():
            age_leases()
            assert [digest_lock(digest) for digest in DIGESTS] == ["free"] * 3


def test_a_holder_that_lost_its_lease_cannot_commit() -> None:
    with blob_lock.shared(DIGESTS) as lease:
        age_leases()
        assert digest_lock(DIGESTS[1]) == "free", "which ends one of the three leases"
        assert not lease.renew()
        with pytest.raises(ArtifactStoreUnavailable), lease.transaction():
            making.tenant("lost")
    assert not Tenant.objects.filter(slug="lost").exists()
    assert leases() == 0


def test_a_late_holder_commits_unless_another_one_took_its_lease() -> None:
    with blob_lock.shared(DIGESTS) as lease:
        age_leases()
        with lease.transaction():
            assert [digest_lock(digest) for digest in DIGESTS] == ["shared"] * 3, "its commit is near"
    assert leases() == 0


def test_a_lease_continues_after_a_transaction_that_is_rolled_back() -> None:
    with blob_lock.shared(DIGESTS) as lease:
        with pytest.raises(ZeroDivisionError), lease.transaction():
            raise ZeroDivisionError
        assert [digest_lock(digest) for digest in DIGESTS] == ["shared"] * 3
        assert lease.renew()
        with lease.transaction():
            pass
        assert leases() == 0


def test_leases_are_renewed_while_bytes_are_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob_lock, "RENEWAL_SECONDS", 0.02)
    with blob_lock.shared(DIGESTS):
        age_leases()
        eventually(lambda: not BlobLease.objects.filter(expires_at__lt=timezone.now()).exists(), what="a renewal")


def test_a_removal_that_was_suspended_removes_nothing() -> None:
    """While it is suspended before its last check, a registration takes the digest."""
    data = making.archive(making.contract(), code="suspended")
    making.staged(data).staged.keep()
    age = timedelta(seconds=-60)
    orphans = [orphan for orphan in retention.orphans(age) if orphan.path is None]

    def remove() -> list[str]:
        return [orphan.name for orphan in retention.remove(orphans, age)]

    with stopped_before_reading(Artifact, remove) as stopped:
        age_leases()
        with blob_lock.shared([making.digest_of(data)]):
            assert stopped.finish() == []
            assert artifact_store().verified(making.digest_of(data)) is not None
    assert results_of(race(remove)) == [[making.digest_of(data)]]


def test_a_stopped_scrub_ends_its_lease() -> None:
    def scrubbed() -> int:
        return len(list(blobs.scrub(60, blobs.Scope.ALL)))

    for _ in range(2):
        scenes.uploaded()
    with closing(cast("Generator[blobs.Checked]", blobs.scrub(60, blobs.Scope.ALL))) as scrubbing:
        next(scrubbing)
        assert results_of(race(scrubbed)) == [0]
    assert leases() == 0
    assert results_of(race(scrubbed)) == [2]
    assert leases() == 0


# --- claims ---


@pytest.mark.parametrize("quota", [0, 2])
def test_a_claim_holds_no_lock_after_its_commit_or_failure(quota: int) -> None:
    owner, _ = making.ready()
    making.execution(owner)
    claim = partial(making.claimed, owner, quota=quota)
    with stopped_before_writing(ExecutionEvent, claim) as stopped:
        assert isinstance(stopped.fail(), OperationalError)
        assert stopped.locks() == 0
    with thread() as other:
        assert len(other.submit(claim).result(30)) == 1
        assert advisory_locks() == 0


def test_claims_of_two_pipelines_keep_to_the_quota_of_their_tenant() -> None:
    """The second pipeline's execution arrives too late for the first claim to lock its release."""
    owner, _ = making.ready()
    making.ready(owner, pipeline_id="org.example.other")
    making.execution(owner)
    with transaction.atomic():
        assert len(making.claimed(owner, quota=1)) == 1
        results_of(race(partial(making.execution, owner, pipeline_id="org.example.other")))
        assert results_of(race(partial(making.claimed, owner, quota=1))) == [[]]
    assert making.claimed(owner, quota=1) == []
    assert len(making.claimed(owner, quota=2)) == 1
