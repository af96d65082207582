import json
from typing import Any

from django.contrib.auth.models import User

from executions.holds import holds
from executions.models import Hold
from executions.workers import registry
from governance.activation.activation import activate
from governance.campaigns import campaigns
from governance.gradual.changes import start
from governance.smoke_tests import smoke_tests
from releases.models import Pipeline, Recipients, Release
from releases.trust import attachments
from tenancy import preferences
from tenancy.models import AuditEntry, Membership, SavedView
from tests import gradual, making, requesting, signing
from tests.admin import operator_rows
from tests.admin.conftest import World


def secret(slug: str) -> str:
    """Return the text in each payload of a tenant, which only readers of payloads may see."""
    return f"the-payload-of-{slug}"


def named(world: World) -> dict[str, object]:
    """Return the keys of an object of each kind by its name."""
    tenant, release = world.tenant, world.release
    owner = User.objects.filter(memberships__tenant=tenant, memberships__role="tenant-admin")[0]
    rows: dict[str, Any] = {
        "user": owner,
        "tenant": tenant,
        "pipeline": release.pipeline,
        "release": release,
        "worker": world.worker,
        "artifact": release.artifacts.get(),
        "token": world.token,
        **_releases(world),
        **_executions(world),
        **_paused(world),
        "invitation": making.invitation(tenant, owner),
        "member": Membership.objects.filter(tenant=tenant).order_by("-role")[0],
        "key": signing.trusted(tenant),
        "attachment": attachments.attach(release, [signing.envelope(release.descriptor)], actor="user:test")[0],
        "alert": operator_rows.alert(world),
        "rule": operator_rows.alert(world).rule,
        "channel": operator_rows.channel(world),
    }
    rows["view"] = preferences.save_view(owner, SavedView.Page.EXECUTIONS, "shared", "", tenant=tenant)
    rows["entry"] = AuditEntry.objects.filter(tenant=tenant).order_by("sequence")[0]
    names = {"slug": tenant.slug, "pipeline_id": release.pipeline.pipeline_id}
    return {**names, **{name: row.pk for name, row in rows.items()}}


def _releases(world: World) -> dict[str, object]:
    """Make a release that was active before, one that nothing needs, a gradual activation, and a request."""
    tenant, pipeline_id = world.tenant, operator_rows.pipeline_of(world)
    older = making.registered(tenant, "0.9", pipeline_id=pipeline_id)
    activate(older, actor="user:test")
    activate(world.release, actor="user:test", reason="back")
    making.active(tenant, pipeline_id=f"{tenant.slug}.gradual")
    candidate = making.registered(tenant, "2.0", pipeline_id=f"{tenant.slug}.gradual")
    running = start(candidate, gradual.plan(5, 50), actor="user:test")
    requested = making.registered(tenant, pipeline_id=f"{tenant.slug}.asked")
    Pipeline.objects.filter(pk=requested.pipeline_id).update(approvals=2)
    return {
        "older": older,
        "unneeded": making.registered(tenant, "never-active", pipeline_id=pipeline_id),
        "candidate": candidate,
        "gradual": running,
        "gradual_pipeline": candidate.pipeline,
        "request": requesting.open_request(requested),
        "asked_pipeline": requested.pipeline,
    }


def _executions(world: World) -> dict[str, object]:
    tenant, pipeline_id = world.tenant, operator_rows.pipeline_of(world)
    text = secret(tenant.slug)
    payload = json.dumps({"text": text})
    done = making.execution(tenant, "done", {"text": text}, pipeline_id=pipeline_id)
    claims = {claim.execution_id: claim for claim in making.claimed(tenant)}
    operator_rows.record(world, making.outcome_of(claims[done.pk], output_payloads=[payload], steps=[(0, 1, 2)]))
    Pipeline.objects.filter(pk=world.release.pipeline_id).update(recipients=Recipients.INFORM)
    question = operator_rows.question(world, requests=[payload], assignee=f"eva-of-{tenant.slug}", timeout_seconds=1e5)
    [dead] = operator_rows.dead(world, "dead", code=f"Error-of-{tenant.slug}", message=text, traceback=text)
    letter = operator_rows.letter(dead)
    running, paused = (operator_rows.campaign(world) for _ in range(2))
    campaigns.pause(tenant, paused.pk, actor="user:test")
    idle = making.worker(world.release, f"drained-of-{tenant.slug}")
    registry.drain(tenant, pipeline_id, idle.worker_id, actor="user:test")
    smoke = smoke_tests.start(world.release, actor="user:test", input={"n": 1}, idempotency_key="smoke")
    return {
        "execution": making.execution(tenant, f"secret-of-{tenant.slug}", {"text": text}, pipeline_id=pipeline_id),
        "done": done,
        "question": question,
        "dead": dead,
        "letter": letter,
        "group": letter.group,
        "campaign": running,
        "paused_campaign": paused,
        "draft": operator_rows.draft(world),
        "drained": idle,
        "smoke": smoke.test.execution,
        "schedule": making.scheduled(tenant, pipeline_id=pipeline_id),
        "paused_schedule": making.scheduled(tenant, "paused", pipeline_id=pipeline_id, paused=True),
    }


def _paused(world: World) -> dict[str, object]:
    """Pause a pipeline, a release and an execution of it."""
    pipeline_id = f"{world.tenant.slug}.paused"
    made = making.active(world.tenant, pipeline_id=pipeline_id)
    making.worker(made, f"paused-of-{world.tenant.slug}")
    execution = making.execution(world.tenant, "paused", pipeline_id=pipeline_id)
    release = Release.objects.select_related("pipeline__tenant").get(pk=made.pk)
    for target in (execution, release, release.pipeline):
        holds.pause(target, actor="user:test", reason="because")
    return {
        "paused_execution": execution,
        "paused_release": release,
        "paused_pipeline": release.pipeline,
        "hold": Hold.objects.filter(execution=execution).get(),
    }
