"""Each admin form makes its change only for users whose role permits it."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.urls import reverse

from releases.activation.activation import activate
from releases.activation.gradual.start import start
from releases.models import GradualActivation, Release
from tenancy import saved_views
from tenancy.models import Membership, SavedView
from tests import gradual, making
from tests.admin import operator_rows
from tests.admin.conftest import LogIn, World
from tests.admin.test_who_may_open_what import (
    ADMINS,
    OPERATORS,
    RELEASERS,
    activation_request,
    alert,
    alert_channel,
    alert_rule,
    campaign,
    dead,
    draft,
    group,
    key,
    question,
)
from tests.api.tenant_api import everything
from tests.requesting import soon

PEOPLE = ("viewer", "operator", "on-call", "release-manager", "tenant-admin", "stranger")
ROLLERS = ("on-call", *RELEASERS)
Form = tuple[str, Callable[[World], list[object]], dict[str, Any], tuple[str, ...]]
WHY = {"reason": "because"}


@pytest.fixture
def acme(acme: World) -> World:
    """The same, with a release that was active before 1.0."""
    activate(making.registered(acme.tenant, "0.9", pipeline_id="acme.orders"), actor="user:test")
    activate(acme.release, actor="user:test", reason="back")
    return acme


def viewer(world: World) -> int:
    return Membership.objects.get(tenant=world.tenant, role="viewer").pk


def unneeded(world: World) -> int:
    """Return the key of a registered release that was never active."""
    version = "never-active"
    found = Release.objects.filter(pipeline__tenant=world.tenant, release_version=version).first()
    return (found or making.registered(world.tenant, version, pipeline_id="acme.orders")).pk


def shared_view(world: World) -> int:
    found = SavedView.objects.filter(tenant=world.tenant).first()
    if found is None:
        owner = User.objects.get(username=f"tenant-admin-of-{world.tenant.slug}")
        found = saved_views.save(owner, SavedView.Page.EXECUTIONS, "shared", "", tenant=world.tenant)
    return found.pk


def running(world: World) -> GradualActivation:
    """Return a gradual activation that is running, in a separate pipeline."""
    pipeline_id = "acme.gradual"
    found = GradualActivation.objects.filter(pipeline__pipeline_id=pipeline_id).first()
    if found is None:
        making.active(world.tenant, "1.0", pipeline_id=pipeline_id)
        release = making.registered(world.tenant, "2.0", pipeline_id=pipeline_id)
        found = start(release, gradual.plan(5, 50), actor="user:test")
    return found


def of_running(world: World) -> list[object]:
    found = running(world)
    return [found.pipeline_id, found.pk]


OPERATION = {**WHY, "expected_release_version": "1.0", "operation_key": "k"}
FORMS: list[Form] = [
    (
        "releases_pipeline_gradual",
        lambda w: [w.release.pipeline_id],
        {
            **{**OPERATION, "release_version": "never-active", "steps": "5 50 10\n50 100 0", "tags": "beta, eu"},
            **{"failure_percentage_points": "5", "duration_factor": "1.5", "significance": "0.001"},
        },
        RELEASERS,
    ),
    ("releases_pipeline_gradual_step", of_running, {**OPERATION, "expected_step": "0"}, RELEASERS),
    ("releases_pipeline_gradual_promote", of_running, OPERATION, RELEASERS),
    ("releases_pipeline_gradual_withdraw", of_running, OPERATION, ROLLERS),
    ("releases_pipeline_policy", lambda w: [w.release.pipeline_id], {"reason_required": "on"}, ADMINS),
    ("releases_release_revoke", lambda w: [w.release.pk], WHY, RELEASERS),
    ("releases_release_retire", lambda w: [unneeded(w)], WHY, RELEASERS),
    (
        "releases_release_activate",
        lambda w: [w.release.pk],
        {"operation_key": "k", "expected_release_version": "1.0"},
        RELEASERS,
    ),
    (
        "releases_pipeline_rollback",
        lambda w: [w.release.pipeline_id],
        {**WHY, "release_version": "0.9", "expected_release_version": "1.0", "operation_key": "k"},
        ROLLERS,
    ),
    ("executions_smoketest_new", lambda w: [w.release.pk], {"input": "1", "idempotency_key": "k"}, RELEASERS),
    (
        "releases_release_request",
        lambda w: [w.release.pk],
        {**WHY, "operation_key": "k", "expected_release_version": "1.0", "activate_at": soon().isoformat()},
        RELEASERS,
    ),
    (
        "releases_activationrequest_vote",
        lambda w: [activation_request(w)],
        {"decision": "approve", "round": "1"},
        RELEASERS,
    ),
    ("releases_activationrequest_withdraw", lambda w: [activation_request(w)], WHY, RELEASERS),
    ("releases_trustedkey_revoke", lambda w: [key(w)], WHY, ADMINS),
    ("executions_interaction_answer", lambda w: [question(w)], {"response": "1"}, OPERATORS),
    ("executions_interaction_claim", lambda w: [question(w)], {}, OPERATORS),
    ("executions_interaction_delegate", lambda w: [question(w)], {"to": "operator", "note": "please"}, OPERATORS),
    ("executions_execution_redrive", lambda w: [dead(w)], {**WHY, "expected_version": "2"}, OPERATORS),
    (
        "executions_execution_resubmit",
        lambda w: [dead(w)],
        {**WHY, "expected_version": "2", "operation_key": "k"},
        OPERATORS,
    ),
    ("executions_execution_cancel", lambda w: [w.execution.pk], WHY, OPERATORS),
    ("executions_execution_save_view", lambda w: [], {"name": "v", "query": "", "tenant": "acme"}, OPERATORS),
    ("executions_execution_remove_view", lambda w: [shared_view(w)], {}, OPERATORS),
    ("executions_hold_execution_pause", lambda w: [w.execution.pk], WHY, OPERATORS),
    ("executions_hold_release_pause", lambda w: [w.release.pk], WHY, RELEASERS),
    ("executions_hold_pipeline_pause", lambda w: [w.release.pipeline_id], WHY, RELEASERS),
    ("executions_worker_drain", lambda w: [w.worker.pk], WHY, OPERATORS),
    ("executions_failuregroup_decide", lambda w: [group(w)], {"acknowledged": "yes"}, OPERATORS),
    ("executions_campaign_pause", lambda w: [campaign(w)], WHY, OPERATORS),
    ("executions_campaign_cancel", lambda w: [campaign(w)], WHY, OPERATORS),
    ("executions_campaign_begin", lambda w: [draft(w)], {"why": "because", "rate_per_minute": "1"}, OPERATORS),
    ("executions_campaign_discard", lambda w: [draft(w)], {}, OPERATORS),
    ("executions_campaign_instead", lambda w: [draft(w)], {}, OPERATORS),
    ("alerts_alert_silence", lambda w: [alert(w)], {"hours": "1"}, OPERATORS),
    ("alerts_alertrule_silence", lambda w: [alert_rule(w)], {"hours": "1"}, RELEASERS),
    ("alerts_alertrule_remove", lambda w: [alert_rule(w)], {}, RELEASERS),
    ("alerts_alertrule_edit", lambda w: [alert_rule(w)], {"name": "other", "minutes": "3"}, RELEASERS),
    ("alerts_alertchannel_test", lambda w: [alert_channel(w)], {}, RELEASERS),
    ("alerts_alertchannel_remove", lambda w: [alert_channel(w)], {}, RELEASERS),
    ("alerts_alertchannel_edit", lambda w: [alert_channel(w)], {"name": "other"}, RELEASERS),
    ("tenancy_tenant_worker_key", lambda w: [w.tenant.pk, "start"], WHY, ADMINS),
    ("tenancy_tenant_worker_key", lambda w: [w.tenant.pk, "replace"], WHY, ADMINS),
    ("tenancy_tenant_change", lambda w: [w.tenant.pk], {"name": "Other"}, ()),
    ("tenancy_apitoken_delete", lambda w: [w.token.pk], {"post": "yes"}, ADMINS),
    ("tenancy_membership_change", lambda w: [viewer(w)], {"role": "operator"}, ADMINS),
    ("tenancy_membership_delete", lambda w: [viewer(w)], {"post": "yes"}, ADMINS),
]


def test_a_form_makes_its_change_only_for_users_whose_role_permits_it(
    log_in: LogIn, acme: World, subtests: pytest.Subtests
) -> None:
    operator_rows.question(acme)
    campaign(acme)
    draft(acme)
    key(acme)
    unneeded(acme)
    activation_request(acme)
    running(acme)
    shared_view(acme)
    alert(acme)
    clients = {who: log_in(who) for who in PEOPLE}
    before = everything()
    for name, arguments, fields, allowed in FORMS:
        address = reverse(f"admin:{name}", args=arguments(acme))
        for who, client in clients.items():
            with subtests.test(name, who=who), transaction.atomic():
                answer = client.post(address, fields)
                assert (everything() != before) is (who in allowed), answer.status_code
                assert who in allowed or answer.status_code in {403, 404}
                transaction.set_rollback(True)
