"""The triggers that reject updates, deletes and truncates, including those of the table owner.

The application role lacks the privileges for most of these changes. The triggers also protect against other roles.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Guard:
    """A trigger that rejects changes of `columns` ("*" means all) in `states` (empty means all)."""

    name: str
    columns: str = "*"
    states: str = ""


UPLOAD_OVER = "STORED REJECTED EXPIRED"
REQUEST_OVER = "ACTIVATED REFUSED WITHDRAWN EXPIRED FAILED"
EXECUTION_OVER = "SUCCEEDED FAILED DLQ CANCELLED"
CAMPAIGN_OVER = "COMPLETED CANCELLED"
GRADUAL_OVER = "PROMOTED WITHDRAWN REPLACED"
AWAIT_OVER = "COMPLETED FAILED TIMED_OUT CANCELLED"

GUARDS: Mapping[str, list[Guard]] = {
    "tenancy_auditentry": [Guard("audit_append_only")],
    "tenancy_audithead": [Guard("audit_head_follows")],
    "releases_pipeline": [
        Guard("pipeline_immutable", "id tenant_id pipeline_id created_at"),
        Guard("pipeline_application_once", "application", "orders"),
        Guard("pipeline_newest_activation", "activation_id"),
    ],
    "releases_contract": [Guard("contract_immutable")],
    "releases_blob": [Guard("blob_immutable", "digest size created_at")],
    "releases_blobevent": [Guard("blob_event_append_only")],
    "releases_artifactupload": [
        Guard("upload_immutable", "id tenant_id digest size part_size uploaded_by created_at"),
        Guard("upload_finished", "finding storage_id expires_at status_changed_at claimed_at", UPLOAD_OVER),
        Guard("upload_legal_move", "status", UPLOAD_OVER),
    ],
    "releases_release": [
        Guard(
            "release_immutable",
            """
            id pipeline_id contract_version release_version descriptor descriptor_document descriptor_digest
            contract_document uploaded_by created_at
            """,
        ),
        Guard("release_verdict_once", "findings contract_id primary_artifact_id environments checkpoints"),
        Guard("release_verdict_time", "status_changed_at", "REGISTERED REJECTED REVOKED RETIRED"),
        Guard("release_legal_move", "status", "REJECTED REVOKED RETIRED"),
        Guard("release_progress_of_verification", "progress", "UPLOADED REGISTERED REJECTED REVOKED RETIRED"),
    ],
    "releases_artifact": [Guard("artifact_immutable")],
    "releases_activation": [Guard("activation_append_only")],
    "releases_activationrequest": [
        Guard("activation_request_over_is_over", "base_id policy round moved status status_changed_at", REQUEST_OVER),
        Guard(
            "activation_request_immutable",
            "id pipeline_id release_id plan requester_id actor reason operation_key activate_at created_at expires_at",
        ),
        Guard("activation_request_new_round", "base_id policy round moved", "OPEN APPROVED"),
        Guard("activation_request_time", "status_changed_at", "OPEN APPROVED"),
    ],
    "releases_vote": [Guard("vote_append_only")],
    "releases_gradualactivation": [
        Guard("gradual_activation_over_is_over", "*", GRADUAL_OVER),
        Guard(
            "gradual_activation_immutable",
            "id pipeline_id baseline_id candidate_id steps groups bounds actor reason started_at",
            "RUNNING",
        ),
    ],
    "releases_deployment": [Guard("deployment_append_only")],
    "releases_revocation": [
        Guard("revocation_guard", "*", "leave pause"),
        Guard("revocation_guard", "id release_id actor reason revoked_at open_executions", "fail"),
    ],
    "releases_retirement": [Guard("retirement_append_only")],
    "releases_attachment": [Guard("attachment_append_only")],
    "releases_trustedkey": [Guard("trusted_key_append_only")],
    "releases_keyrevocation": [Guard("key_revocation_append_only")],
    "executions_execution": [
        Guard("execution_pin_immutable", "tenant_id release_id pipeline_id contract_version release_version"),
        Guard(
            "execution_submission_immutable",
            "id execution_key input_digest input input_shape result_shape checkpoints submitted_by created_at",
        ),
        Guard("execution_smoke_immutable", "smoke", "QUEUED RUNNING WAIT_RETRY WAITING_EXTERNAL"),
        Guard("execution_tags_immutable", "tags", "QUEUED RUNNING WAIT_RETRY WAITING_EXTERNAL"),
        Guard("execution_traceparent_immutable", "traceparent", "QUEUED RUNNING WAIT_RETRY WAITING_EXTERNAL"),
        Guard("execution_finish_is_now", "finished_at"),
        Guard("execution_held_by_hold", "held"),
        Guard("execution_counts_up", "version"),
        Guard("execution_legal_move", "status", "SUCCEEDED CANCELLED"),
        Guard(
            "execution_terminal_immutable",
            """
            current_step_index budget_start takeovers progress progress_shape await_unit_id next_due_at lease_owner
            lease_protocol lease_worker lease_token lease_expires_at running_since last_transition_key result error_code
            error_message tags traceparent updated_at
            """,
            EXECUTION_OVER,
        ),
    ],
    "executions_executionevent": [Guard("event_append_only")],
    "executions_deadletter": [Guard("deadletter_append_only")],
    "executions_failuregroup": [
        Guard(
            "failure_group_immutable",
            "id tenant_id release_id step_index fingerprint error_code sample_message first_seen_at",
        ),
        Guard("failure_group_seen_by_trigger", "last_seen_at"),
    ],
    "executions_resubmission": [Guard("resubmission_append_only")],
    "executions_smoketest": [Guard("smoke_test_append_only")],
    "executions_wireform": [Guard("wire_form_written_once", "execution_id input")],
    "executions_awaitunit": [
        Guard("await_unit_over_is_over", "*", AWAIT_OVER),
        Guard(
            "await_unit_immutable",
            """
            id tenant_id execution_id step_id step_index itemized gives_many expected_items worker_name created_at
            """,
            "WAITING_EXTERNAL",
        ),
        Guard("await_unit_traceparent_immutable", "traceparent", "WAITING_EXTERNAL"),
    ],
    "executions_interaction": [
        Guard("interaction_over_is_over", "*", AWAIT_OVER),
        Guard(
            "interaction_request_immutable",
            """
            id tenant_id unit_id execution_id step_id step_index item_index correlation_id worker_name request
            output_type created_at transport transport_metadata assignee group
            """,
            "WAITING DISPATCHING DISPATCHED",
        ),
        Guard("interaction_first_deadline", "first_deadline", "WAITING DISPATCHING DISPATCHED"),
    ],
    "executions_interactionevent": [Guard("interaction_event_append_only")],
    "executions_hold": [
        Guard(
            "hold_ends_once",
            """
            id tenant_id execution_id release_id pipeline_id reason refuses_submissions started_by started_at ended_by
            end_reason
            """,
        )
    ],
    "executions_campaign": [
        Guard("campaign_over_is_over", "*", CAMPAIGN_OVER),
        Guard(
            "campaign_immutable",
            """
            id tenant_id kind target_release_version start_from filters allow_failed revoked_releases reason
            rate_per_minute canary stop_after_failures cut created_by created_at
            """,
            "RUNNING PAUSED",
        ),
        Guard("campaign_resume_accepts", "failures_accepted", "RUNNING PAUSED"),
    ],
    "executions_campaignitem": [
        Guard("campaign_item_outcome_once", "*", "REDRIVEN RESUBMITTED SKIPPED"),
        Guard("campaign_item_outcome_once", "id campaign_id execution_id expected_version"),
    ],
    "executions_campaignevent": [Guard("campaignevent_append_only")],
    "executions_workerevent": [Guard("workerevent_append_only")],
    "executions_workerkeychange": [Guard("worker_key_change_append_only")],
    "alerts_alert": [Guard("alert_over_is_over", "*", "RESOLVED")],
    "alerts_alertevent": [Guard("alert_event_append_only")],
    "alerts_alertdelivery": [Guard("alert_delivery_over_is_over", "*", "SENT FAILED")],
}

BY_RIGHTS_ALONE = {
    "releases_gradualactivation": "step_started_at ended_at",  # a trigger sets them
    "releases_bloblease": "id resource holder exclusive",
    "tenancy_tenant": "id slug created_at",
    "tenancy_allowance": "tenant_id",
    "tenancy_grant": "id tenant_id permits expires_at",
    "tenancy_membership": "id user_id tenant_id",
    "tenancy_apitoken": "user_id digest token_key created name scopes tenant_id",
    "tenancy_logincounter": "key",
    "tenancy_savedview": "id owner_id tenant_id page name query created_at",
    "tenancy_preferences": "user_id",
    "executions_finishedcount": "id release_id minute",
    "executions_worker": "id tenant_id pipeline_id worker_id",
    "executions_messagepath": "id",
    "alerts_alertchannel": "id tenant_id kind created_by created_at",
    "alerts_alertrule": "id tenant_id kind pipeline_id created_by created_at",
    "alerts_rulechannel": "id rule_id channel_id",
    "alerts_alert": "id tenant_id rule_id subject title detail path started_at resolved_at",  # a trigger sets the last
    "alerts_alertdelivery": "id tenant_id channel_id alert_id kind created_at finished_at",  # as above
    "coordinator_process": "id kind host pid",
}
"""Columns without a trigger, which only the privileges of the application role protect."""

WITH_OTHERS = {
    "alerts_alertrule": "thresholds",  # takes objects only
    "releases_gradualactivation": "step status cause ended_by end_reason",
    "releases_pipeline": "activation_id",
    "releases_release": "findings contract_id primary_artifact_id environments checkpoints",
    "releases_artifact": "blob_id resolved",
    "releases_activationrequest": "base_id policy round moved status status_changed_at code detail ended_by",
    "releases_artifactupload": "finding",
    "executions_execution": "result status version event_count progress_shape held finished_at",
    "executions_interaction": """
        response actor completed_at first_deadline note channel claimed_by claimed_until delegate claim_changes
    """,
    "executions_failuregroup": "acknowledged_by acknowledged_at",
    "executions_hold": "ended_at ended_by end_reason",
    "executions_awaitunit": "answered_items",
    "executions_campaign": """
        target_release_version start_from revoked_releases reason rate_per_minute canary canary_over stop_after_failures
        failures_accepted cause created_by finished_at
    """,
    "executions_campaignitem": "new_execution_id",
    "executions_wireform": "result",
}
"""Columns that only change together with others.

See `test_moves`, `test_gradual`, `test_holds`, `test_sequences`, `test_checks` and `test_campaign_drafts`.
"""

REMOVALS = {
    "tenancy_auditentry": ("audit_append_only", "audit_not_truncated"),
    "tenancy_audithead": ("audit_head_not_deleted", "audit_head_not_truncated"),
    "releases_contract": ("contract_immutable", "contract_not_truncated"),
    "releases_blob": ("blob_not_deleted", "blob_not_truncated"),
    "releases_blobevent": ("blob_event_append_only", "blob_event_not_truncated"),
    "releases_artifactupload": ("upload_not_deleted", "upload_not_truncated"),
    "releases_release": ("release_not_deleted", "release_not_truncated"),
    "releases_artifact": ("artifact_not_deleted", "artifact_not_truncated"),
    "releases_activation": ("activation_append_only", "activation_not_truncated"),
    "releases_activationrequest": ("activation_request_not_deleted", "activation_request_not_truncated"),
    "releases_vote": ("vote_append_only", "vote_not_truncated"),
    "releases_gradualactivation": ("gradual_activation_not_deleted", "gradual_activation_not_truncated"),
    "releases_deployment": ("deployment_append_only", "deployment_not_truncated"),
    "releases_revocation": ("revocation_append_only", "revocation_not_truncated"),
    "releases_retirement": ("retirement_append_only", "retirement_not_truncated"),
    "releases_attachment": ("attachment_append_only", "attachment_not_truncated"),
    "releases_trustedkey": ("trusted_key_append_only", "trusted_key_not_truncated"),
    "releases_keyrevocation": ("key_revocation_append_only", "key_revocation_not_truncated"),
    "executions_execution": ("execution_not_deleted", "execution_not_truncated"),
    "executions_executionevent": ("event_append_only", "event_not_truncated"),
    "executions_deadletter": ("deadletter_append_only", "deadletter_not_truncated"),
    "executions_failuregroup": ("failure_group_not_deleted", "failure_group_not_truncated"),
    "executions_resubmission": ("resubmission_append_only", "resubmission_not_truncated"),
    "executions_smoketest": ("smoke_test_append_only", "smoke_test_not_truncated"),
    "executions_campaign": ("campaign_not_deleted", "campaign_not_truncated"),
    "executions_campaignitem": ("campaign_item_not_deleted", "campaign_item_not_truncated"),
    "executions_campaignevent": ("campaignevent_append_only", "campaignevent_not_truncated"),
    "executions_workerevent": ("workerevent_append_only", "workerevent_not_truncated"),
    "executions_workerkeychange": ("worker_key_change_append_only", "worker_key_change_not_truncated"),
    "executions_hold": ("hold_ends_once", "hold_not_truncated"),
    "executions_wireform": ("wire_form_written_once", ""),
    "executions_awaitunit": ("await_unit_over_is_over", "execution_not_truncated"),
    "executions_interaction": ("interaction_over_is_over", "interaction_event_not_truncated"),
    "executions_interactionevent": ("interaction_event_append_only", "interaction_event_not_truncated"),
    "alerts_alert": ("alert_kept", "alert_not_truncated"),
    "alerts_alertevent": ("alert_event_append_only", "alert_event_not_truncated"),
    "alerts_alertdelivery": ("alert_delivery_kept", "alert_delivery_not_truncated"),
}
"""The triggers that reject a DELETE and a TRUNCATE. A cascade is rejected by the first table's trigger."""
