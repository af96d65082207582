"""Each call is one transaction: if a write to any table fails, the call leaves no changes and no locks.

Wake-ups and caches change after the commit, and never after a rollback.
"""

from collections.abc import Callable
from functools import partial
from threading import Event
from typing import Any

import pytest
from celery import current_app
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import OperationalError, connection, transaction
from django.db.models import Model
from django.utils import timezone

from executions.awaits import webhooks
from executions.lifecycle import dispatch, sweep
from executions.models import (
    AwaitUnit,
    CampaignEvent,
    CampaignItem,
    DeadLetter,
    Execution,
    ExecutionEvent,
    Interaction,
    Resubmission,
    WireForm,
    Worker,
    WorkerEvent,
)
from executions.transports import rest_workers
from executions.workers import registry, tenant_keys
from executions.workers.tenant_keys import active_keys, replace_key, start_key
from foundation import wakeup
from governance.campaigns import campaigns
from releases.errors import KeyConflict
from releases.models import (
    Activation,
    ActivationRequest,
    Artifact,
    Blob,
    BlobEvent,
    BlobLease,
    Pipeline,
    Release,
    Retirement,
    Revocation,
    Vote,
)
from tenancy.access import TokenNameTaken, issue_token
from tenancy.models import Membership, Tenant
from tenancy.roles import Scope
from tests import making, signing
from tests.broker import taken
from tests.cases import Log
from tests.concurrency import scenes
from tests.concurrency.scenes import Scene
from tests.concurrency.sessions import Call, another_session, race, results_of, stopped_before_writing
from tests.executions.awaits.parking import suspended
from tests.receiving import Receiver, local_receivers, receiver
from tests.wakeups import Broker, broker
from wire.messages.sealing import MOST_SEALS
from wire.messages.task_messages import LONGEST_MESSAGE
from wire.worker_keys import WorkerKey

__all__ = ["broker", "local_receivers", "receiver"]


def everything() -> dict[str, list[Any]]:
    """Return all rows of the product's tables."""
    tables = [
        model
        for app in ("tenancy", "releases", "executions", "alerts", "coordinator")
        for model in apps.get_app_config(app).get_models()
    ]
    return {model.__name__: list(model._default_manager.order_by("pk").values()) for model in tables}


def failed_outcomes() -> Scene:
    outcomes = [making.failure(claim, retryable=False) for claim in scenes.running(making.ready()[0], 2)]
    return partial(making.record, *outcomes), []


def suspensions() -> Scene:
    return partial(making.record, *map(making.suspension, scenes.running(making.ready()[0], 2))), []


def lost_leases() -> Scene:
    """Make executions that have lost too many leases, whose worker stopped."""
    owner, _ = making.ready()
    scenes.running(owner, 2)
    Worker.objects.update(stopped_at=timezone.now())
    Execution.objects.update(takeovers=100, lease_expires_at=timezone.now())
    return sweep.expire_leases, []


def request(operation: Callable[..., object]) -> Callable[[], Scene]:
    """Return a scene in which an operator calls `operation` on a campaign."""

    def scene() -> Scene:
        owner, _ = scenes.dead(2)
        return partial(operation, owner, scenes.start_campaign(owner).pk, actor="user:x"), []

    scene.__name__ = f"campaign_{operation.__name__}"
    return scene


def drain() -> Scene:
    owner, _ = making.ready()
    return partial(registry.drain, owner, making.PIPELINE, "worker-1", actor="user:x"), []


def undrain() -> Scene:
    call, _ = drain()
    call()
    [owner] = Tenant.objects.all()
    return partial(registry.undrain, owner, making.PIPELINE, "worker-1", actor="user:x"), []


def heartbeat_for_a_rest_worker() -> Scene:
    release = making.active(making.tenant())
    making.worker(release, protocol="rest", noted_state="STALE")
    return partial(rest_workers.heartbeat, release.pipeline.tenant, making.PIPELINE, "worker-1", actor="user:x"), []


def a_blocked_endpoint() -> Scene:
    release = making.active(making.tenant())
    making.worker(release, protocol="rest", endpoint="http://not.allowed:1")
    return partial(rest_workers.review_endpoints, actor="sweep"), []


def new_tenant() -> Scene:
    User.objects.get_or_create(username="ada")
    return partial(call_command, "create_tenant", "acme", member="ada"), []


TRANSACTIONS: dict[Callable[[], Scene], tuple[type[Model], ...]] = {
    scenes.activation: (Pipeline,),
    scenes.last_vote: (Vote, ActivationRequest),
    scenes.due_request: (Activation, Pipeline, ActivationRequest),
    scenes.gradual_start: (Activation,),
    scenes.gradual_step: (Activation,),
    scenes.gradual_promotion: (Pipeline,),
    scenes.gradual_withdrawal: (Activation,),
    scenes.revocation: (Revocation,),
    scenes.retirement: (Retirement,),
    scenes.ordered_failures: (Revocation, DeadLetter),
    scenes.registration: (Release, Artifact),
    scenes.healing: (BlobEvent, Blob),
    scenes.damaged_bytes: (Blob,),
    scenes.missing_bytes: (Blob,),
    scenes.removal_of_bytes: (BlobEvent,),
    scenes.recording: (ExecutionEvent,),
    failed_outcomes: (DeadLetter,),
    suspensions: (AwaitUnit,),
    lost_leases: (DeadLetter,),
    scenes.campaign_start: (CampaignItem, CampaignEvent),
    scenes.campaign_drafting: (CampaignItem, CampaignEvent),
    scenes.campaign_advance: (Execution, CampaignItem, CampaignEvent),
    scenes.resubmission: (Execution, ExecutionEvent),
    scenes.campaign_of_resubmissions: (Resubmission, Execution, ExecutionEvent, CampaignItem, CampaignEvent),
    request(campaigns.pause): (CampaignEvent,),
    request(campaigns.cancel): (CampaignEvent, CampaignItem),
    scenes.removal: (ExecutionEvent, DeadLetter, AwaitUnit, WireForm, Resubmission),
    scenes.answering: (AwaitUnit, Execution),
    scenes.timing_out: (Interaction, AwaitUnit, Execution, DeadLetter),
    scenes.giving_up_a_webhook: (AwaitUnit, Execution, DeadLetter),
    scenes.cancelling: (AwaitUnit, Interaction),
    scenes.first_heartbeat: (WorkerEvent,),
    scenes.heartbeat: (Execution,),
    scenes.admission_of_a_rest_worker: (WorkerEvent,),
    heartbeat_for_a_rest_worker: (WorkerEvent,),
    a_blocked_endpoint: (WorkerEvent,),
    drain: (WorkerEvent,),
    undrain: (WorkerEvent,),
    scenes.end_of_an_interruption: (Execution,),
    new_tenant: (Membership,),
}
"""The tables that each call writes. It fails at each of them."""


LOGGED = (scenes.campaign_advance, scenes.campaign_drafting, scenes.campaign_of_resubmissions, scenes.removal)
"""These calls log the error and continue with other campaigns or tenants."""


@pytest.mark.parametrize(
    ("scene", "table"),
    [(scene, table) for scene, tables in TRANSACTIONS.items() for table in tables],
    ids=scenes.name_of,
)
def test_a_failed_statement_undoes_the_call(scene: Callable[[], Scene], table: type[Model], caplog: Log) -> None:
    call, _ = scene()
    before = everything()
    with stopped_before_writing(table, call) as stopped:
        if scene is scenes.giving_up_a_webhook:  # the claim is committed before the call
            before["Interaction"] = list(Interaction.objects.values())
            assert before["Interaction"][0]["status"] == "DISPATCHING"
        # Leases are committed before the call, and end with it.
        leases = {"BlobLease": list(BlobLease.objects.order_by("pk").values())}
        assert everything() == before | leases  # other sessions see no changes before the commit
        error = stopped.fail()
        if scene in LOGGED:
            assert (error, "OperationalError" in caplog.text) == (None, True)
        else:
            assert isinstance(error, OperationalError)
        assert everything() == before
        assert stopped.locks() == 0


def test_a_command_that_is_too_large_fails_with_its_dead_letter(settings: Any) -> None:
    settings.WORKER_SECRET_FALLBACKS = [f"a secret of before {number}" for number in range(MOST_SEALS - 1)]
    owner, _ = making.ready()
    made = making.execution(owner, value={"text": "x" * (LONGEST_MESSAGE * 3 // 4 // MOST_SEALS)})
    with stopped_before_writing(DeadLetter, dispatch.dispatch) as stopped:
        assert isinstance(stopped.fail(), OperationalError)
    assert making.history(made)[-1] == ("CLAIMED", "RUNNING")


def known_key() -> tuple[Call, type[Exception]]:
    owner = making.tenant()
    signing.trusted(owner)
    return partial(signing.trusted, owner), KeyConflict


def taken_token_name() -> tuple[Call, type[Exception]]:
    user = User.objects.get_or_create(username="superuser", is_superuser=True)[0]
    issue = partial(issue_token, making.tenant(), user, "ci", [Scope.READ], lifetime=None)
    issue()
    return issue, TokenNameTaken


@pytest.mark.parametrize("refusal", [known_key, taken_token_name])
def test_the_callers_transaction_is_usable_after_an_error(refusal: Callable[[], tuple[Call, type[Exception]]]) -> None:
    call, error = refusal()
    with transaction.atomic():
        with pytest.raises(error):
            call()
        assert Tenant.objects.exists()


# --- what follows a commit ---


@pytest.fixture
def task(name: str, broker: Broker) -> str:
    return f"tests.{name}"


@pytest.mark.parametrize("ring", [wakeup.send, wakeup.send_once])
def test_a_wake_up_is_sent_with_the_commit_and_not_after_a_rollback(ring: Callable[[str], None], task: str) -> None:
    for rolled_back in (True, False):
        with transaction.atomic():
            ring(task)
            transaction.set_rollback(rolled_back)
        sent = [name for name, _ in taken(current_app.conf.task_default_queue)]
        assert sent.count(task) == (0 if rolled_back else 1)


def test_this_process_is_woken_after_the_commit(task: str) -> None:
    woken = Event()
    wakeup.handle_here(task, woken.set)
    with transaction.atomic():
        wakeup.send_once(task)
        assert not woken.wait(0.2)
    assert woken.wait(30)


@pytest.mark.usefixtures("broker")
@pytest.mark.parametrize("change", [start_key, replace_key])
def test_a_process_knows_a_new_key_once_it_is_committed(change: Callable[..., WorkerKey]) -> None:
    owner = making.tenant()
    before = active_keys(owner.slug)
    with transaction.atomic():
        made = change(owner, actor="user:x")
        assert active_keys(owner.slug)[0] == made
        tenant_keys.cache.clear()
        assert results_of(race(partial(active_keys, owner.slug))) == [before]
    assert active_keys(owner.slug)[0] == made


def test_a_webhooks_result_outlives_a_lost_connection(ready: Any, receiver: Receiver, local_receivers: None) -> None:
    """The session ends after the receiver's address was resolved, and before the result of the attempt is recorded."""
    suspended(ready, transport="webhook", transport_metadata={"url": receiver.url("receiver.test")})

    def disconnect_and_resolve(host: str, port: int) -> list[str]:
        with another_session() as session, connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            session.execute("SELECT pg_terminate_backend(%s, 10000)", cursor.fetchone())
        return ["127.0.0.1"]

    assert webhooks.OUTBOX.send(resolve=disconnect_and_resolve)
    question = Interaction.objects.get()
    assert (question.status, question.dispatch_attempts, len(receiver.requests)) == ("DISPATCHED", 1, 1)
