import base64
from datetime import timedelta

from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from executions.awaits import awaits
from executions.lifecycle import interventions
from executions.models import FailureGroup, Interaction, Schedule
from executions.schedules import backfills
from governance.campaigns import campaigns
from governance.campaigns.selection import Filters
from governance.gradual.changes import start
from governance.smoke_tests import smoke_tests
from releases.trust import attachments
from tenancy.models import Membership, Tenant
from tenancy.roles import Role
from tests import gradual, making, signing
from tests.alerts import alerting
from tests.api.tenant_api import TenantApi
from tests.interop.deploying import deployed
from tests.making import LONG_AGO
from tests.releases.registration.sending import opened
from tests.requesting import open_request, soon


def populate(ours: TenantApi) -> dict[str, list[str]]:
    """Create the objects. Return their names and ids by the name of the parameter or member."""
    owner, release = ours.tenant, ours.release
    making.claimed(owner)
    receiver = alerting.channel(owner)
    rule = alerting.rule(owner, "newFailureGroup", receiver)  # it finds the failures after it
    notified = making.submitted(owner, "notified", notify=receiver.name).execution_id
    interventions.cancel(owner, notified, actor="user:eva", reason="")
    dead = making.dead(owner, "dead-1", "dead-2", "dead-3")
    campaign = campaigns.start(
        owner, Filters(pipeline_id=making.PIPELINE), reason="fixed", rate_per_minute=1, actor="user:eva"
    )
    making.execution(owner, "waits")
    [claim] = making.claimed(owner)
    assert making.record(making.suspension(claim, timeout_seconds=86_400.0), worker_id="worker-1") == 1
    interaction = Interaction.objects.get(tenant=owner)
    live = making.execution(owner, "live")
    smoke_test = smoke_tests.start(release, actor="user:eva", input={"n": 1}, idempotency_key="first").test
    token = awaits.resume_token_of(interaction, issued_at=timezone.now()).sign(awaits.resume_secrets()[0])
    key = signing.trusted(owner)
    [attachment] = attachments.attach(release, [signing.envelope(release.descriptor)], actor="user:eva")
    deployed(release)
    request = open_request(making.registered(owner, "asked"), actor="user:eva", activate_at=soon())
    candidate = making.replaced(making.registered(owner, "0.8", body="candidate"))
    running = start(candidate, gradual.plan(5, 50, tags=("beta",)), actor="user:eva", reason="faster")
    upload = opened(owner, making.digest_of(b"x"))
    alert = alerting.of_failures(rule)
    member = User.objects.create_user(f"member-{owner.slug}")
    Membership.objects.create(user=member, tenant=owner, role=Role.OPERATOR)
    Client().force_login(member)
    group = FailureGroup.objects.get(tenant=owner)
    values = {
        **dict.fromkeys(("pipeline_id", "pipelineId"), making.PIPELINE),
        **dict.fromkeys(("release_version", "releaseVersion", "from", "to", "expectedReleaseVersion"), "1.0"),
        **dict.fromkeys(("failure_group_id", "failureGroupId", "failureGroup"), group.pk),
        **dict.fromkeys(("question_id", "questionId", "interactionId"), interaction.pk),
        **dict.fromkeys(("rule_id", "ruleId"), alert.rule_id),
        **{"upload_id": upload.pk, "request_id": request.pk, "tenant": owner.slug, "username": member.username},
        **{"smoke_test_id": smoke_test.pk, "gradual_id": running.pk, "campaign_id": campaign.pk},
        **{"correlationId": interaction.correlation_id, "resumeToken": token, "worker_id": "worker-1"},
        **{"key_id": key.key_id, "digest": attachment.digest, "artifact_digest": release.artifacts.get().digest},
        **{"descriptor_digest": release.descriptor_digest, "schedule_id": _fired(owner).pk},
        **{"invitation_id": making.invitation(owner, ours.admin).pk, "alert_id": alert.pk, "channel_id": receiver.pk},
        "cursor": base64.b64encode(b"o=0").decode(),  # the first page of any list
    }
    several = {"execution_id": [str(execution.pk) for execution in (ours.execution, live, *dead)]}
    return {**{name: [str(value)] for name, value in values.items()}, **several}


def _fired(owner: Tenant) -> Schedule:
    """Return a schedule with one time."""
    schedule = making.scheduled(owner)
    backfills.backfill(schedule, LONG_AGO, LONG_AGO + timedelta(days=1), actor="user:eva")
    return schedule
