"""Adds rows of every kind to a tenant, so that each page of the admin has something to show in all of its parts."""

import json

from django.contrib.auth.models import User

from executions.holds import holds
from executions.smoke_tests import smoke_tests
from releases.activation.activation import activate
from releases.models import Pipeline, Release
from releases.registration import attachments
from releases.registration.registrar import verify_release
from releases.trust import trusted_keys
from tenancy.access import issue_token
from tenancy.roles import Role, Scope
from tests import gradual, making, requesting, signing
from tests.admin import operator_rows
from tests.admin.conftest import World, person

WITH_KEYS = 8
"""How many keys sign each release. The number of attachments of a release is limited."""


def fill(world: World, numbers: range) -> None:
    """Add rows for each of `numbers`. The release of `world` stays active."""
    for number in numbers:
        _release(world, number)
        _executions(world, number)
        _people(world, number)
        for each in _evidenced(world):
            _attach(each, number)
    activate(world.release, actor="user:test", reason="back")


def _release(world: World, number: int) -> None:
    """Add a release that was active, with all that a release can have, a gradual activation, and a rejected release."""
    pipeline_id = operator_rows.pipeline_of(world)
    newer = making.registered(world.tenant, f"9.{number}", pipeline_id=pipeline_id)
    activate(newer, actor="user:test", reason=f"number {number}")
    making.worker(newer, f"worker-{number}")
    making.worker(world.release, f"active-{number}")
    for each in (newer, world.release):
        making.deployed(each, f"place-{number}")
        smoke_tests.start(each, actor="user:test", input={"n": number}, idempotency_key=f"smoke-{each.pk}-{number}")
    other = making.active(world.tenant, pipeline_id=f"{world.tenant.slug}.other-{number}")
    making.worker(other, f"other-{number}")
    gradual.start(
        making.registered(world.tenant, "2.0", pipeline_id=other.pipeline.pipeline_id), gradual.plan(50), actor="user:x"
    )
    Pipeline.objects.filter(pk=world.release.pipeline_id).update(approvals=3)
    request = requesting.open_request(newer, operation_key=f"asked-{number}")
    requesting.voted(request)
    Pipeline.objects.filter(pk=world.release.pipeline_id).update(approvals=0)
    wrong = making.descriptor(making.contract(pipeline_id), b"other", f"bad-{number}")
    verify_release(making.upload(world.tenant, wrong, b"something else").release.pk)


def _executions(world: World, number: int) -> None:
    activate(world.release, actor="user:test", reason="executions")
    operator_rows.question(world, f"asks-{number}")
    operator_rows.dead(world, f"dead-{number}", code=f"Error{number}")
    operator_rows.campaign(world)
    operator_rows.draft(world)
    waiting = making.execution(world.tenant, f"waits-{number}", pipeline_id=operator_rows.pipeline_of(world))
    holds.pause(waiting, actor="user:test", reason="because")
    operator_rows.alert(world, f"rule-{number}")


def _people(world: World, number: int) -> None:
    someone = person(f"someone-{number}", world.tenant, Role.OPERATOR)
    issue_token(world.tenant, User.objects.get(username="superuser"), f"token-{number}", [Scope.READ], lifetime=None)
    making.tenant(f"tenant-{number}").memberships.create(user=someone, role=Role.VIEWER)
    if number < WITH_KEYS:
        key = signing.trusted(world.tenant, f"key-{number}")
        if number % 2:
            trusted_keys.revoke(key, actor="user:test", reason="left")


def _evidenced(world: World) -> list[Release]:
    """Return the active release and the newest one that could replace it."""
    newest = Release.objects.filter(pipeline=world.release.pipeline_id, status="REGISTERED").order_by("-pk")[0]
    return [world.release, Release.objects.select_related("pipeline__tenant").get(pk=newest.pk)]


def _attach(release: Release, number: int) -> None:
    if release.attachments.count() >= 3 * WITH_KEYS:
        return
    digest = release.artifacts.get().digest
    proof = signing.statement(digest, runDetails={"builder": {"id": f"https://ci.example/{number}"}, "metadata": {}})
    bill = signing.cyclone([f"package-{number}"], digest=digest)
    documents = [json.dumps(each).encode() for each in (proof, bill)]
    envelope = signing.envelope({**release.descriptor}, f"key-{number % WITH_KEYS}")
    attachments.attach(release, [envelope, *documents], actor="user:test")
