"""The pages of the admin: who may open each one, and who may change what with each form.

A key is the name of a URL and its arguments. An argument is the name of an object in `named.py`, or a value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.urls import reverse

from tests import signing
from tests.requesting import soon

MEMBERS = ("viewer", "operator", "on-call", "release-manager", "tenant-admin", "superuser")
RELEASERS = ("release-manager", "tenant-admin", "superuser")
ROLLERS = ("on-call", *RELEASERS)
OPERATORS = ("operator", "on-call", "tenant-admin", "superuser")
READERS = ("operator", "on-call", *RELEASERS)
ADMINS = ("tenant-admin", "superuser")
SUPERUSERS = ("superuser",)
EVERYONE = (*MEMBERS, "stranger", "nobody")
Names = Mapping[str, object]

READS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("index", "search", "account"), EVERYONE),
    # Lists
    **dict.fromkeys(
        (
            "releases_pipeline_changelist",
            "releases_release_changelist",
            "releases_activationrequest_changelist",
            "releases_trustedkey_changelist",
            "releases_trustedkey_export csv",
            "executions_execution_changelist",
            "executions_execution_export csv",
            "executions_worker_changelist",
            "executions_interaction_changelist",
            "executions_deadletter_changelist",
            "executions_failuregroup_changelist",
            "executions_hold_changelist",
            "executions_campaign_changelist",
            "executions_smoketest_changelist",
            "alerts_alert_changelist",
            "alerts_alertrule_changelist",
            "alerts_alertchannel_changelist",
        ),
        MEMBERS,
    ),
    **dict.fromkeys(
        (
            "tenancy_tenant_changelist",
            "tenancy_tenant_export csv",
            "tenancy_membership_changelist",
            "tenancy_membership_export csv",
            "tenancy_apitoken_changelist",
            "tenancy_apitoken_export csv",
            "tenancy_auditentry_changelist",
            "tenancy_auditentry_export csv",
        ),
        ADMINS,
    ),
    **dict.fromkeys(("auth_user_changelist", "auth_user_export csv", "coordinator_process_changelist"), SUPERUSERS),
    # Objects
    **dict.fromkeys(
        (
            "releases_pipeline_change pipeline",
            "releases_pipeline_compare pipeline",
            "releases_pipeline_change gradual_pipeline",
            "releases_pipeline_history_export pipeline",
            "releases_release_change release",
            "releases_release_change older",
            "releases_release_status release",
            "releases_release_attachment release attachment",
            "releases_release_artifact release artifact",
            "releases_release_descriptor release",
            "releases_activationrequest_change request",
            "releases_trustedkey_change key",
            "executions_execution_change execution",
            "executions_execution_change dead",
            "executions_execution_change done",
            "executions_execution_live execution",
            "executions_execution_compare execution",
            "executions_execution_provenance execution",
            "executions_execution_provenance_document execution",
            "executions_worker_change worker",
            "executions_interaction_change question",
            "executions_deadletter_change letter",
            "executions_failuregroup_change group",
            "executions_campaign_change campaign",
            "executions_campaign_change draft",
            "executions_campaign_live campaign",
            "executions_smoketest_change smoke",
            "executions_hold_change hold",
            "alerts_alert_change alert",
            "alerts_alertrule_change rule",
            "alerts_alertchannel_change channel",
        ),
        MEMBERS,
    ),
    "executions_execution_payload execution input": READERS,
    **dict.fromkeys(
        (
            "tenancy_tenant_change tenant",
            "tenancy_membership_change member",
            "tenancy_apitoken_change token",
            "tenancy_auditentry_change entry",
        ),
        ADMINS,
    ),
    # Forms
    **dict.fromkeys(
        (
            "releases_release_upload",
            "releases_release_activate release",
            "releases_release_activate candidate",
            "executions_smoketest_new release",
            "executions_hold_release_pause release",
            "executions_hold_pipeline_pause pipeline",
            "executions_hold_release_resume paused_release",
            "executions_hold_pipeline_resume paused_pipeline",
            "alerts_alertrule_new",
            "alerts_alertchannel_new",
            "alerts_alertrule_edit rule",
            "alerts_alertchannel_edit channel",
        ),
        RELEASERS,
    ),
    **dict.fromkeys(
        (
            "executions_execution_redrive dead",
            "executions_execution_resubmit dead",
            "executions_execution_cancel execution",
            "executions_hold_execution_pause execution",
            "executions_hold_execution_resume paused_execution",
            "executions_worker_drain worker",
            "executions_worker_undrain drained",
            "executions_campaign_start",
            "executions_campaign_pause campaign",
            "executions_campaign_resume paused_campaign",
            "executions_campaign_cancel campaign",
        ),
        OPERATORS,
    ),
    **dict.fromkeys(
        (
            "releases_trustedkey_new",
            "tenancy_membership_add",
            "tenancy_membership_delete member",
            "tenancy_apitoken_add",
            "tenancy_apitoken_delete token",
            "tenancy_tenant_worker_key tenant start",
        ),
        ADMINS,
    ),
    **dict.fromkeys(
        ("tenancy_tenant_add", "auth_user_add", "auth_user_change user", "auth_user_password_change user"), SUPERUSERS
    ),
}
FRAGMENTS = {
    page
    for page in READS
    for name in ("_status", "_live", "_attachment", "_artifact", "_descriptor", "_payload", "_export", "_document")
    if page.split()[0].endswith(name)
}
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
    "releases_release_revoke release": Change(RELEASERS, WHY),
    "releases_release_retire unneeded": Change(RELEASERS, WHY),
    "releases_release_activate release": Change(RELEASERS, {"operation_key": "k", "expected_release_version": "1.0"}),
    "releases_release_request release": Change(RELEASERS, {**OPERATION, "activate_at": soon().isoformat()}),
    "releases_activationrequest_vote request": Change(RELEASERS, {"decision": "approve", "round": "1"}),
    "releases_activationrequest_withdraw request": Change(RELEASERS, WHY),
    "releases_trustedkey_new": Change(
        ADMINS, {"tenant": "{tenant}", "name": "mine", "public_key": signing.public_pem("mine")}
    ),
    "releases_trustedkey_revoke key": Change(ADMINS, WHY),
    "executions_smoketest_new release": Change(RELEASERS, {"input": "1", "idempotency_key": "k"}),
    "executions_interaction_answer question": Change(OPERATORS, {"response": "1"}),
    "executions_interaction_claim question": Change(OPERATORS),
    "executions_interaction_delegate question": Change(OPERATORS, {"to": "operator", "note": "please"}),
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
    "auth_user_add": Change(SUPERUSERS, {"username": "mia", **PASSWORD}),
    "auth_user_change user": Change(SUPERUSERS, {"username": "renamed", "is_active": "on"}),
    "auth_user_password_change user": Change(SUPERUSERS, PASSWORD),
}
ELSEWHERE = {
    "login",
    "logout",
    "password_change",
    "password_change_done",
    "log_out_everywhere",
    "autocomplete",
    "jsi18n",
    "app_list",
    "view_on_site",
    "releases_release_attach",
    "releases_release_direct",
    "releases_release_direct_one",
    "executions_interaction_release",
}
"""Pages for everyone who has a session, and forms whose own tests say who may send them."""


def url(page: str, names: Names) -> str:
    name, *arguments = page.split()
    return reverse(f"admin:{name}", args=[names.get(each, each) for each in arguments])


def fields_of(page: str, names: Names) -> dict[str, Any]:
    fields = CHANGES[page].fields.items()
    return {name: value.format(**names) if isinstance(value, str) else value for name, value in fields}
