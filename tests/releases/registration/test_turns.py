from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from foundation.places import Places, Turns
from releases import tasks
from releases.models import ArtifactUpload, Release
from releases.registration import direct_uploads
from releases.registration.direct_uploads import FINISH_TASK
from releases.registration.progress import RELEASES, UPLOADS
from releases.states import Status
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.raw_sql import unguarded
from tests.releases.registration import sending
from tests.wakeups import Broker, names

pytestmark = pytest.mark.django_db


def uploaded(owner: Tenant, count: int) -> list[int]:
    return [making.uploaded(owner, f"{number}.0", body=f"{owner.slug} {number}").pk for number in range(count)]


def opened(owner: Tenant, count: int, expires_at: datetime | None = None) -> list[Any]:
    digests = [making.digest_of(f"{owner.slug} {expires_at} {number}".encode()) for number in range(count)]
    return [sending.opened(owner, digest, expires_at).pk for digest in digests]


def sent(owner: Tenant, count: int) -> list[Any]:
    uploads = opened(owner, count)
    for pk in uploads:
        ArtifactUpload.objects.filter(pk=pk).update(status="VERIFYING", status_changed_at=timezone.now())
    return uploads


def one_by_one(turns: Turns) -> list[Any]:
    """Take all turns, each after the previous one has ended, and return the rows in that order."""
    rows: list[Any] = []
    for _ in range(20):
        with turns.take() as due:
            if due is None:
                return rows
            rows.append(due)
    raise AssertionError(f"the turns never end: {rows}")


@cases(("make", "kind"), [(uploaded, RELEASES.turns), (sent, UPLOADS.turns)])
def test_tenants_take_turns_and_a_lost_verification_is_due_again(make: Any, kind: Callable[[Places], Turns]) -> None:
    many, few = make(making.tenant(), 4), make(making.tenant(), 2)
    order = [many[0], few[0], many[1], few[1], many[2], many[3]]
    assert one_by_one(kind(Places())) == order
    assert one_by_one(kind(Places())) == []
    long_ago = timezone.now() - timedelta(minutes=3)
    Release.objects.filter(pk=order[0]).update(status_changed_at=long_ago)
    ArtifactUpload.objects.filter(claimed_at__isnull=False).exclude(pk__in=order[1:]).update(claimed_at=long_ago)
    assert one_by_one(kind(Places())) == [order[0]]


def test_a_waiting_release_is_not_a_turn_of_its_tenant() -> None:
    """The turn that counts is the last verification, not the last upload."""
    now, tenants = timezone.now(), [making.tenant(), making.tenant()]
    served = [making.registered(owner) for owner in tenants]
    with unguarded(Release):
        for release, minutes in zip(served, (10, 5), strict=True):
            Release.objects.filter(pk=release.pk).update(status_changed_at=now - timedelta(minutes=minutes))
    [first], [second] = (uploaded(owner, 1) for owner in tenants)
    Release.objects.filter(pk=second).update(status_changed_at=now - timedelta(minutes=1))
    assert one_by_one(RELEASES.turns(Places())) == [first, second]


def test_a_later_tenant_waits_for_at_most_one_verification() -> None:
    many, turns = uploaded(making.tenant(), 4), RELEASES.turns(Places())
    Release.objects.filter(pk=many[3]).update(status_changed_at=timezone.now() - timedelta(minutes=1))
    turns.places.most = 1
    with turns.take() as first:
        assert first == many[3], "it has waited longest"
        few = uploaded(making.tenant(), 1)
        with turns.take() as nothing:
            assert nothing is None, "every place is taken"
    with turns.take() as second:
        assert second == few[0]


def test_one_tenant_never_takes_all_turns() -> None:
    many, turns = uploaded(making.tenant(), 4), RELEASES.turns(Places())
    turns.places.most = 3
    with turns.take() as first, turns.take() as second:
        assert [first, second] == many[:2]
        with turns.take() as nothing:
            assert nothing is None
        few = uploaded(making.tenant(), 1)
        with turns.take() as third:
            assert third == few[0]


def test_a_renewal_after_the_verdict_changes_nothing() -> None:
    release, [upload] = making.registered(making.tenant()), sent(making.tenant(), 1)
    ArtifactUpload.objects.filter(pk=upload).update(status="REJECTED", finding={}, status_changed_at=timezone.now())
    before = release.status_changed_at
    RELEASES.renewing(release.pk)()
    UPLOADS.renewing(upload)()
    assert making.reread(release).status_changed_at == before
    assert ArtifactUpload.objects.get(pk=upload).claimed_at is None


def test_a_claim_is_renewed_at_most_once_in_an_interval() -> None:
    [release], [upload] = uploaded(making.tenant(), 1), sent(making.tenant(), 1)
    long_ago = timezone.now() - timedelta(minutes=3)
    Release.objects.filter(pk=release).update(status=Status.VERIFYING)
    renew_release, renew_upload = RELEASES.renewing(release), UPLOADS.renewing(upload)
    for renewed in (True, False):
        Release.objects.filter(pk=release).update(status_changed_at=long_ago)
        ArtifactUpload.objects.filter(pk=upload).update(claimed_at=long_ago)
        renew_release()
        renew_upload()
        assert Release.objects.filter(pk=release, status_changed_at__gt=long_ago).exists() is renewed
        assert ArtifactUpload.objects.filter(pk=upload, claimed_at__gt=long_ago).exists() is renewed


def test_the_sweep_announces_a_bounded_number(broker: Broker) -> None:
    sent(making.tenant(), tasks.MAX_WAKEUPS + 1)
    assert names(broker.after(tasks.sweep)) == []
    ArtifactUpload.objects.update(status_changed_at=timezone.now() - timedelta(minutes=3))
    assert names(broker.after(tasks.sweep)) == [FINISH_TASK] * tasks.MAX_WAKEUPS


def test_the_sweep_closes_a_bounded_number_of_uploads_whose_time_is_over() -> None:
    owner, second = making.tenant(), timedelta(seconds=1)
    over = opened(owner, 101, timezone.now() - second)
    [lasting] = opened(owner, 1, timezone.now() + timedelta(minutes=1))
    tasks.sweep()
    assert ArtifactUpload.objects.filter(pk__in=over, status="EXPIRED").count() == 100
    assert [direct_uploads.expire() for _ in range(2)] == [1, 0]
    assert ArtifactUpload.objects.get(pk=lasting).status == "OPEN"
