"""Adds rows of every kind to a tenant, so that each page of the admin has something to show in all of its parts."""

import json

from django.contrib.auth.models import User

from executions.holds import holds
from executions.smoke_tests import smoke_tests
from releases.activation.activation import activate
from releases.models import Pipeline
from releases.registration import attachments
from releases.registration.registrar import verify_release
from releases.trust import trusted_keys
from tenancy.access import issue_token
from tenancy.roles import Role, Scope
from tests import gradual, making, requesting, signing
from tests.admin import operator_rows
from tests.admin.conftest import World, person


def fill(world: World, numbers: range) -> None:
    """Add rows for each of `numbers`. The release of `world` stays active."""
    for number in numbers:
        _releases(world, number)
        activate(world.release, actor="user:test", reason="executions")
        _executions(world, number)
        _people(world, number)
        key = signing.trusted(world.tenant, f"key-{number}")
        envelope = signing.envelope({**world.release.descriptor}, f"key-{number}")
        bill = signing.cyclone([f"package-{number}"], digest=world.release.artifacts.get().digest)
        attachments.attach(world.release, [envelope, json.dumps(bill).encode()], actor="user:test")
        if number % 2:
            trusted_keys.revoke(key, actor="user:test", reason="left")


def _releases(world: World, number: int) -> None:
    """Add a release that was active, with all that a release can have, a gradual activation, and a rejected release."""
    pipeline_id = operator_rows.pipeline_of(world)
    newer = making.registered(world.tenant, f"9.{number}", pipeline_id=pipeline_id)
    activate(newer, actor="user:test", reason=f"number {number}")
    for each in (newer, world.release):
        making.worker(each, f"worker-{number}-of-{each.pk}")
        making.deployed(each, f"place-{number}")
        smoke_tests.start(each, actor="user:test", input={"n": number}, idempotency_key=f"smoke-{each.pk}-{number}")
    other = making.active(world.tenant, pipeline_id=f"{world.tenant.slug}.other-{number}")
    gradual.start(
        making.registered(world.tenant, "2.0", pipeline_id=other.pipeline.pipeline_id), gradual.plan(50), actor="user:x"
    )
    Pipeline.objects.filter(pk=world.release.pipeline_id).update(approvals=3)
    requesting.voted(requesting.open_request(newer, operation_key=f"asked-{number}"))
    Pipeline.objects.filter(pk=world.release.pipeline_id).update(approvals=0)
    wrong = making.descriptor(making.contract(pipeline_id), b"other", f"bad-{number}")
    verify_release(making.upload(world.tenant, wrong, b"something else").release.pk)


def _executions(world: World, number: int) -> None:
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
