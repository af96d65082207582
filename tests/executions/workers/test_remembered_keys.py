"""How long a process caches worker keys, and what invalidates the cache earlier."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoCaptureOnCommitCallbacks

from executions.models import WorkerKeyChange
from executions.workers import refusals, tenant_keys
from executions.workers.tenant_keys import active_keys, replace_key
from tenancy.models import Tenant
from tests import making
from tests.clock import Clock
from wire.messages.sealing import ProtocolError

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> Tenant:
    return making.tenant()


def generations(owner: Tenant) -> list[str]:
    return [key.key_id.partition("-")[0] for key in active_keys(owner.slug)]


def replaced_elsewhere(owner: Tenant) -> None:
    """Replace the key as another process does. This process can learn of it only from the table."""
    WorkerKeyChange.objects.create(tenant=owner, number=1, newest=2, oldest=2, actor="user:eva", reason="")


def test_a_key_that_another_process_revoked_is_refused_once_the_time_is_over(
    owner: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    clock.stop()
    assert generations(owner) == ["1"]
    replaced_elsewhere(owner)
    clock.ahead += 0.9 * tenant_keys.KNOWN_SECONDS
    assert generations(owner) == ["1"]
    clock.ahead += 0.2 * tenant_keys.KNOWN_SECONDS
    assert generations(owner) == ["2"]


def test_cached_keys_expire(owner: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    assert generations(owner) == ["1"]
    replaced_elsewhere(owner)
    clock.ahead += tenant_keys.KNOWN_SECONDS
    assert generations(owner) == ["2"]


def test_the_keys_are_read_again_after_a_change_is_committed(
    owner: Tenant,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """Another thread may have cached the old keys between the change and its commit."""
    Clock(monkeypatch).stop()
    with django_capture_on_commit_callbacks(execute=True):
        replace_key(owner, actor="user:eva")
        assert generations(owner) == ["2"]
    with CaptureQueriesContext(connection) as caught:
        assert generations(owner) == ["2"]
    assert len(caught) > 0


def test_a_process_that_changes_keys_uses_the_new_ones_at_once(owner: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch).stop()
    assert generations(owner) == ["1"]
    replace_key(owner, actor="user:eva")
    assert generations(owner) == ["2"]


def test_a_change_of_keys_affects_only_its_tenant(owner: Tenant) -> None:
    other = making.tenant()
    for _ in range(2):
        replace_key(owner, actor="user:eva")
    replace_key(other, actor="user:eva")
    tenant_keys.cache.clear()
    assert (generations(owner), generations(other)) == (["3"], ["2"])
    assert list(WorkerKeyChange.objects.filter(tenant=other).values_list("number", flat=True)) == [1]


def test_refusals_are_logged_again_in_the_next_window(
    owner: Tenant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    error = ProtocolError("KEY_NOT_ACTIVE", "no key")
    message = {"tenantId": owner.slug}
    for _ in range(refusals.MOST_LINES + 5):
        refusals.refuse_outcomes(message, error)
    assert len(caplog.records) == refusals.MOST_LINES
    monkeypatch.setattr(refusals, "WINDOW_SECONDS", 0.0)
    refusals.refuse_outcomes(message, error)
    assert len(caplog.records) == refusals.MOST_LINES + 1
    assert "5 refusals before it were not logged" in caplog.records[-1].getMessage()
