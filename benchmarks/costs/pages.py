"""The pages of the admin, as the web process renders them for a superuser."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db.models import QuerySet
from django.test import Client

from alerts import channels, evaluation, rules
from benchmarks import admin_pages
from benchmarks.costs.installation import TENANT
from benchmarks.costs.measuring import Work
from benchmarks.costs.world import World, claim_due, failed_outcome, request
from executions.holds import holds
from executions.lifecycle import outcome
from executions.models import Campaign, Execution
from executions.schedules import schedules
from executions.transports.celery import identity_of
from governance.activation.activation import activate
from governance.campaigns import campaigns, drafts
from governance.campaigns.selection import Filters
from governance.gradual import changes
from governance.gradual.plan import Plan, Step
from governance.requests import requests
from governance.smoke_tests import smoke_tests
from releases import policy
from releases.models import Release
from releases.trust import trust
from tenancy.models import Tenant
from wire.documents import signing
from wire.messages.celery_messages import OutcomeGroup

MODULE = "three_steps"
ACTOR = f"user:{TENANT}"


def all_pages(world: World, connection: psycopg.Connection) -> Iterator[Work]:
    """Yield each page. `connection` may read the tables."""
    call_command("collectstatic", interactive=False, verbosity=0)
    _make_rows(world)
    client = Client(headers={"host": "127.0.0.1:8000"})
    client.force_login(User.objects.get(username=TENANT))
    cookies = {"HTTP_COOKIE": client.cookies.output(header="", sep=";")}
    addresses = admin_pages.addresses(connection, "benchmarks.three-steps")

    def open_page(address: str, _: Any) -> None:
        request("GET", f"/admin/{address}", b"", cookies)

    for name in sorted(("executions", *admin_pages.PAGES)):
        yield Work(f"page, {name}", partial(open_page, addresses[name]), warm_up=1, times=2)


def _make_rows(world: World) -> None:
    """Make the rows that the pages show: an execution that succeeded, one that failed, and a row of each other kind."""
    hosted, newest = (world.register(MODULE, version) for version in ("1", "5"))
    world.drain()
    world.submit(MODULE, key="order-10")
    world.complete(claim_due(1))
    [failed_id] = world.submit(MODULE, key="order-20")
    [claim] = claim_due(1)
    group = OutcomeGroup(worker_id=TENANT, outcomes=[failed_outcome(claim, retryable=False)])
    outcome.record(identity_of(claim), group)
    question = world.asked()
    holds.pause(question.execution, actor=ACTOR, reason="because")
    nightly = schedules.Settings(name="nightly", cron="0 2 * * *", input=1)
    smoke_tests.start(hosted, actor=ACTOR, input=1, idempotency_key="smoke")
    schedules.add(world.tenant, newest.pipeline.pipeline_id, nightly, actor=ACTOR)
    _make_activations(world)
    _make_campaigns(world.tenant, Execution.objects.filter(pk=failed_id))
    _make_alert(world.tenant)
    public_key = signing.to_pem(Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key())
    trust.add_key(world.tenant, name="ci", public_key=public_key, actor=ACTOR)


def _make_activations(world: World) -> None:
    """Activate each release of a pipeline. Start a gradual activation of another one, and a request for a third."""
    world.register("asking", "5")
    asking = Release.objects.filter(pipeline__tenant=world.tenant, pipeline__pipeline_id="benchmarks.asking")
    for release in asking.select_related("pipeline__tenant").order_by("pk"):
        activate(release, actor=ACTOR)
    candidate = world.register("three_checkpointed", "5")
    changes.start(candidate, Plan((Step(10, 20, 0),)), actor=ACTOR)
    requested = world.register("one_step", "5")
    policy.change(requested.pipeline, {"approvals": 1}, actor=ACTOR)
    requester = User.objects.get(username=TENANT)
    requests.ask(requested, requester=requester, actor=ACTOR, reason="because")


def _make_campaigns(tenant: Tenant, failed: QuerySet[Execution]) -> None:
    options: dict[str, Any] = {"reason": "because", "rate_per_minute": 60}
    campaigns.start(tenant, Filters(), chosen=failed, allow_failed=True, actor=ACTOR, **options)
    drafts.freeze(tenant, Campaign.Kind.REDRIVE, failed, actor=ACTOR)


def _make_alert(tenant: Tenant) -> None:
    channel = channels.add(tenant, name="hook", kind="webhook", address="http://127.0.0.1:1/hook", actor=ACTOR)
    rule = rules.add(tenant, name="approvals", kind="approvalWanted", channel_ids=[channel.pk], actor=ACTOR)
    evaluation.evaluate_rule(rule)
