"""The pages of the admin: who may open each one, and who may change what with each form.

A key is the name of a URL and its arguments. An argument is the name of an object in `named.py`, or a value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.urls import reverse

from tests import signing
from tests.requesting import soon
from tests.words import words

MEMBERS = ("viewer", "auditor", "approver", "operator", "on-call", "release-manager", "tenant-admin", "superuser")
RELEASERS = ("release-manager", "tenant-admin", "superuser")
ROLLERS = ("on-call", *RELEASERS)
OPERATORS = ("operator", "on-call", "tenant-admin", "superuser")
READERS = ("auditor", "operator", "on-call", *RELEASERS)
ADMINS = ("tenant-admin", "superuser")
AUDITORS, VOTERS, ANSWERERS = ("auditor", *ADMINS), ("approver", *RELEASERS), ("approver", *OPERATORS)
SUPERUSERS = ("superuser",)
EVERYONE = (*MEMBERS, "stranger", "nobody")
Names = Mapping[str, object]


def pages(table: str) -> list[str]:
    """Return the keys of a table. Each line has a model and its pages."""
    rows = [line.strip().split(": ") for line in table.strip().splitlines()]
    return [f"{model}_{page}" for model, names in rows for page in names.split(", ")]


READABLE = {
    MEMBERS: """
        releases_pipeline: changelist, change pipeline, compare pipeline, change gradual_pipeline
        releases_pipeline: history_export pipeline, health pipeline, active, active_export
        releases_release: changelist, change release, change older, status release, descriptor release
        releases_release: attachment release attachment, artifact release artifact
        releases_release: recovery release, recovery_record release
        releases_activationrequest: changelist, change request, review request
        releases_trustedkey: changelist, export csv, change key
        executions_execution: changelist, export csv, change execution, change dead, change done, live execution
        executions_execution: compare execution, provenance execution, provenance_document execution
        executions_worker: changelist, fleet, change worker
        executions_interaction: changelist, news, change question, live question
        executions_deadletter: changelist, change letter
        executions_failuregroup: changelist, change group
        executions_hold: changelist, change hold
        executions_campaign: changelist, change campaign, change draft, live campaign
        executions_schedule: changelist, change schedule
        executions_smoketest: changelist, change smoke
        alerts_alert: changelist, change alert
        alerts_alertrule: changelist, change rule
        alerts_alertchannel: changelist, change channel
    """,
    READERS: """
        releases_release: recovery_proof release
        executions_execution: payload execution input
    """,
    OPERATORS: """
        executions_execution: redrive dead, resubmit dead, cancel execution, remove_view view
        executions_hold: execution_pause execution, execution_resume paused_execution
        executions_worker: drain worker, undrain drained
        executions_schedule: new, edit schedule, pause schedule, resume paused_schedule, backfill schedule
        executions_schedule: remove schedule
        executions_campaign: start, pause campaign, resume paused_campaign, cancel campaign, discard draft
    """,
    ROLLERS: "releases_pipeline: rollback pipeline",
    RELEASERS: """
        releases_release: upload, activate release, activate candidate, activate_form release
        releases_release: revoke release, retire unneeded
        executions_smoketest: new release
        executions_hold: release_pause release, release_resume paused_release, pipeline_pause pipeline
        executions_hold: pipeline_resume paused_pipeline
        alerts_alertrule: new, edit rule, remove rule
        alerts_alertchannel: new, edit channel, remove channel
    """,
    AUDITORS: """
        tenancy_membership: changelist, export csv, change member
        tenancy_invitation: changelist, export csv, change invitation
        tenancy_apitoken: changelist, export csv, change token
        tenancy_auditentry: changelist, export csv, change entry
    """,
    ADMINS: """
        tenancy_tenant: changelist, export csv, change tenant, worker_key tenant start
        tenancy_membership: add, delete member, end_sessions member
        tenancy_invitation: new, withdraw invitation
        tenancy_apitoken: add, delete token
        releases_trustedkey: new
    """,
    SUPERUSERS: """
        auth_user: changelist, export csv, add, change user, password_change user
        coordinator_process: changelist
        tenancy_tenant: add
    """,
}
"""Who may read which pages of which model."""
READS = dict.fromkeys(("index", "search", "account"), EVERYONE) | {
    page: who for who, table in READABLE.items() for page in pages(table)
}
_PARTS = tuple(words("_status _live _active_export _attachment _artifact _descriptor _payload _export _document"))
FRAGMENTS = {page for page in READS if page.split()[0].endswith(_PARTS)}
"""Responses that are fragments or downloads, not whole pages."""


@dataclass(frozen=True)
class Change:
    """The fields that a form sends, and who may send it. Text in `{}` is the name of an object."""

    who: tuple[str, ...]
    fields: dict[str, Any] = field(default_factory=dict)


WHY = {"reason": "because"}
OPERATION = {**WHY, "expected_release_version": "1.0", "operation_key": "k"}
PASSWORD = {"password1": "correct horse battery", "password2": "correct horse battery", "usable_password": "true"}
CHANGES: dict[str, Change] = {
    "releases_pipeline_gradual pipeline": Change(
        RELEASERS,
        {
            **{**OPERATION, "release_version": "never-active", "steps": "5 50 10\n50 100 0", "tags": "beta, eu"},
            **{"failure_percentage_points": "5", "duration_factor": "1.5", "significance": "0.001"},
        },
    ),
    "releases_pipeline_gradual_step gradual_pipeline gradual": Change(RELEASERS, {**OPERATION, "expected_step": "0"}),
    "releases_pipeline_gradual_promote gradual_pipeline gradual": Change(RELEASERS, OPERATION),
    "releases_pipeline_gradual_withdraw gradual_pipeline gradual": Change(ROLLERS, OPERATION),
    "releases_pipeline_policy pipeline": Change(ADMINS, {"reason_required": "on"}),
    "releases_pipeline_rollback pipeline": Change(ROLLERS, {**OPERATION, "release_version": "0.9"}),
    "releases_release_revoke release": Change(
        RELEASERS, {**WHY, "typed_version": "1.0", "open_executions": "leave", "shown_active": "yes"}
    ),
    "releases_release_retire unneeded": Change(RELEASERS, {**WHY, "typed_version": "never-active"}),
    "releases_release_activate release": Change(RELEASERS, {"operation_key": "k", "expected_release_version": "1.0"}),
    "releases_release_recovery_draft release": Change(OPERATORS, {"part": "failed", "kind": "redrive"}),
    "releases_release_request release": Change(RELEASERS, {**OPERATION, "activate_at": soon().isoformat()}),
    "releases_activationrequest_vote request": Change(VOTERS, {"decision": "approve", "round": "1"}),
    "releases_activationrequest_withdraw request": Change(RELEASERS, WHY),
    "releases_trustedkey_new": Change(
        ADMINS, {"tenant": "{tenant}", "name": "mine", "public_key": signing.public_pem("mine")}
    ),
    "releases_trustedkey_revoke key": Change(ADMINS, WHY),
    "executions_smoketest_new release": Change(RELEASERS, {"input": "1", "idempotency_key": "k"}),
    "executions_interaction_answer question": Change(ANSWERERS, {"response": "1"}),
    "executions_interaction_claim question": Change(ANSWERERS),
    "executions_interaction_reassign question": Change(ADMINS, {"assignee": "operator", "reason": "away"}),
    "executions_interaction_delegate question": Change(ANSWERERS, {"to": "operator", "note": "please"}),
    "executions_execution_redrive dead": Change(OPERATORS, {**WHY, "expected_version": "2"}),
    "executions_execution_resubmit dead": Change(OPERATORS, {**WHY, "expected_version": "2", "operation_key": "k"}),
    "executions_execution_cancel execution": Change(OPERATORS, WHY),
    "executions_execution_act redrive": Change(OPERATORS, {"execution": "{dead}"}),
    "executions_execution_save_view": Change(OPERATORS, {"name": "v", "query": "", "tenant": "{slug}"}),
    "executions_execution_remove_view view": Change(OPERATORS),
    "executions_hold_execution_pause execution": Change(OPERATORS, WHY),
    "executions_hold_release_pause release": Change(RELEASERS, WHY),
    "executions_hold_pipeline_pause pipeline": Change(RELEASERS, WHY),
    "executions_hold_execution_resume paused_execution": Change(OPERATORS, WHY),
    "executions_hold_release_resume paused_release": Change(RELEASERS, WHY),
    "executions_hold_pipeline_resume paused_pipeline": Change(RELEASERS, WHY),
    "executions_worker_drain worker": Change(OPERATORS, WHY),
    "executions_worker_undrain drained": Change(OPERATORS, WHY),
    "executions_failuregroup_decide group": Change(OPERATORS, {"acknowledged": "yes"}),
    "executions_campaign_start": Change(OPERATORS, {"tenant": "{slug}", "pipeline_id": "{pipeline_id}"}),
    "executions_campaign_pause campaign": Change(OPERATORS, WHY),
    "executions_campaign_resume paused_campaign": Change(OPERATORS, WHY),
    "executions_campaign_cancel campaign": Change(OPERATORS, WHY),
    "executions_campaign_begin draft": Change(OPERATORS, {"why": "because", "rate_per_minute": "1"}),
    "executions_campaign_discard draft": Change(OPERATORS),
    "executions_campaign_instead draft": Change(OPERATORS),
    "executions_schedule_new": Change(
        OPERATORS,
        {
            **{"tenant": "{tenant}", "pipeline": "{pipeline_id}", "name": "hourly", "cron": "0 * * * *"},
            **{"time_zone": "UTC", "input": "1", "overlap": "queue", "catch_up_minutes": "5"},
        },
    ),
    "executions_schedule_edit schedule": Change(
        OPERATORS,
        {
            **{"name": "other", "cron": "0 * * * *", "time_zone": "UTC", "input": "1"},
            **{"overlap": "queue", "catch_up_minutes": "5"},
        },
    ),
    "executions_schedule_pause schedule": Change(OPERATORS, WHY),
    "executions_schedule_resume paused_schedule": Change(OPERATORS, WHY),
    "executions_schedule_backfill schedule": Change(
        OPERATORS, {"first": "2026-01-01 00:00", "end": "2026-01-03 00:00", **WHY}
    ),
    "executions_schedule_remove schedule": Change(OPERATORS),
    "alerts_alert_silence alert": Change(OPERATORS, {"hours": "1"}),
    "alerts_alertrule_new": Change(RELEASERS, {"tenant": "{tenant}", "name": "late", "kind": "stranded"}),
    "alerts_alertrule_silence rule": Change(RELEASERS, {"hours": "1"}),
    "alerts_alertrule_remove rule": Change(RELEASERS),
    "alerts_alertrule_edit rule": Change(RELEASERS, {"name": "other", "minutes": "3"}),
    "alerts_alertchannel_new": Change(
        RELEASERS, {"tenant": "{tenant}", "name": "hook", "kind": "webhook", "address": "https://h.example/path"}
    ),
    "alerts_alertchannel_test channel": Change(RELEASERS),
    "alerts_alertchannel_remove channel": Change(RELEASERS),
    "alerts_alertchannel_edit channel": Change(RELEASERS, {"name": "other"}),
    "tenancy_tenant_worker_key tenant start": Change(ADMINS, WHY),
    "tenancy_tenant_worker_key tenant replace": Change(ADMINS, WHY),
    "tenancy_tenant_add": Change(SUPERUSERS, {"slug": "new", "name": "New"}),
    "tenancy_tenant_change tenant": Change(SUPERUSERS, {"name": "Other"}),
    "tenancy_apitoken_add": Change(ADMINS, {"tenant": "{tenant}", "name": "t", "scopes": ["read"], "lifetime": "30"}),
    "tenancy_apitoken_delete token": Change(ADMINS, {"post": "yes"}),
    "tenancy_membership_add": Change(ADMINS, {"tenant": "{tenant}", "username": "nobody", "role": "viewer"}),
    "tenancy_membership_change member": Change(ADMINS, {"role": "operator"}),
    "tenancy_membership_delete member": Change(ADMINS, {"post": "yes"}),
    "tenancy_invitation_new": Change(
        ADMINS, {"tenant": "{tenant}", "email": "new@example.com", "roles": ["viewer"], "groups": "finance"}
    ),
    "tenancy_invitation_withdraw invitation": Change(ADMINS),
    "tenancy_invitation_send invitation": Change(ADMINS),
    "tenancy_membership_end_sessions member": Change(ADMINS),
    "end_user_sessions user": Change(SUPERUSERS),
    "auth_user_add": Change(SUPERUSERS, {"username": "mia", **PASSWORD}),
    "auth_user_change user": Change(SUPERUSERS, {"username": "renamed", "is_active": "on"}),
    "auth_user_password_change user": Change(SUPERUSERS, PASSWORD),
}
ELSEWHERE = set(
    words(
        """
        login logout password_change password_change_done log_out_everywhere end_own_session autocomplete
        jsi18n app_list view_on_site
        releases_release_attach releases_release_direct releases_release_direct_one executions_interaction_release
        """
    )
)
"""Pages for everyone who has a session, and forms whose own tests say who may send them."""


def url(page: str, names: Names) -> str:
    name, *arguments = page.split()
    return reverse(f"admin:{name}", args=[names.get(argument, argument) for argument in arguments])


def fields_of(page: str, names: Names) -> dict[str, Any]:
    fields = CHANGES[page].fields.items()
    return {name: value.format(**names) if isinstance(value, str) else value for name, value in fields}
