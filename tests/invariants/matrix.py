"""The changes that the application role may make to the rows of each table. It may make no others.

The columns in `never`, `always` and `in_state` are all columns of the table, so that a new column must be added here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """`never` names columns that no UPDATE of a single column may change, `always` those that may change in any state.

    `state` is the column with the state of a row. `in_state` names, for each state, the other columns that may change
    in it, or "" if none may. If `deletable` is True, rows without references to them may be deleted. `copied` names
    the states in which a copy of a row with a new key may be inserted, because the application may insert such rows at
    any time. Other copies are rejected.
    """

    never: str
    always: str = ""
    state: str = ""
    in_state: Mapping[str, str] = field(default_factory=lambda: {"": ""})
    deletable: bool = False
    copied: frozenset[str] = frozenset()

    def changeable(self, state: str) -> set[str]:
        return {*self.always.split(), *self.in_state[state].split()}

    @property
    def columns(self) -> set[str]:
        return {*self.never.split(), *self.always.split(), *" ".join(self.in_state.values()).split()}


LIVE_EXECUTION = """
    current_step_index attempt budget_start takeovers next_due_at last_transition_key error_code error_message
    updated_at
"""
LIVE_UPLOAD = "storage_id status cleared status_changed_at claimed_at"

MATRIX = {
    "tenancy_tenant": Table(
        never="id slug created_at",
        always="""
            name retention_days failed_retention_days quota_submissions quota_open_executions quota_payload_bytes
            quota_storage_bytes quota_uploads quota_workers
        """,
    ),
    "tenancy_allowance": Table(never="tenant_id", always="second granted settled counted_at", copied=frozenset({""})),
    "tenancy_grant": Table(never="id tenant_id permits expires_at", deletable=True, copied=frozenset({""})),
    "tenancy_membership": Table(never="id user_id tenant_id", always="role", deletable=True),
    "tenancy_apitoken": Table(
        never="user_id digest token_key created name scopes tenant_id",
        always="last_used_at expiry",
        deletable=True,
    ),
    "tenancy_logincounter": Table(
        never="key", always="attempts ends_at known_until", deletable=True, copied=frozenset({""})
    ),
    "tenancy_savedview": Table(never="id owner_id tenant_id page name query created_at", deletable=True),
    "tenancy_preferences": Table(never="user_id", always="time_zone", copied=frozenset({""})),
    "tenancy_auditentry": Table(
        never="""
            id tenant_id sequence at actor act object_type object outcome reason request_id address details
            previous_hash hash
        """,
        copied=frozenset({""}),
    ),
    "tenancy_audithead": Table(never="id tenant_id sequence hash"),
    "releases_pipeline": Table(
        never="id tenant_id pipeline_id activation_id created_at",
        always="""
            reason_required signature_policy worker_gate validate_answers unverified_workers missing_artifacts
            rollback_days smoke_test_hours skew_grace_minutes retry_limit retry_delay_seconds retry_multiplier approvals
            approval_hours emergency_override
        """,
        state="application",
        in_state={"": "application", "orders": ""},
    ),
    "releases_contract": Table(never="id pipeline_id contract_version document created_at"),
    "releases_blob": Table(
        never="digest size created_at",
        always="state fingerprint checked_at checking_until",
        state="state",
        in_state={"SOUND": "", "DAMAGED": "", "MISSING": "", "REMOVED": ""},
    ),
    "releases_blobevent": Table(
        never="id digest kind data at",
        state="kind",
        in_state={"DAMAGED": "", "MISSING": "", "REMOVED": ""},
        copied=frozenset({"REMOVED"}),
    ),
    "releases_artifactupload": Table(
        never="id tenant_id digest size part_size finding uploaded_by created_at expires_at",
        state="status",
        in_state={
            "OPEN": LIVE_UPLOAD,
            "VERIFYING": LIVE_UPLOAD,
            "STORED": "cleared",
            "REJECTED": "cleared",
            "EXPIRED": "cleared",
        },
    ),
    "releases_release": Table(
        never="""
            id pipeline_id contract_version release_version descriptor descriptor_document descriptor_digest findings
            contract_document contract_id primary_artifact_id environments checkpoints uploaded_by created_at
        """,
        state="status",
        in_state={
            "UPLOADED": "status status_changed_at",
            "VERIFYING": "status status_changed_at progress",
            "REGISTERED": "",
            "REJECTED": "",
            "REVOKED": "",
            "RETIRED": "",
        },
    ),
    "releases_artifact": Table(
        never="id release_id position artifact_id kind uri digest step_ids capabilities blob_id resolved"
    ),
    "releases_activation": Table(
        never="""
            id pipeline_id sequence release_id previous_id kind candidate_id share gradual_id actor reason operation_key
            override request_id activated_at
        """
    ),
    "releases_gradualactivation": Table(
        never="""
            id pipeline_id baseline_id candidate_id steps groups bounds step step_started_at status cause actor reason
            started_at ended_by end_reason ended_at
        """,
        state="status",
        in_state={"RUNNING": "", "PROMOTED": "", "WITHDRAWN": "", "REPLACED": ""},
    ),
    "releases_activationrequest": Table(
        never="""
            id pipeline_id release_id base_id plan policy round moved requester_id actor reason operation_key
            activate_at created_at expires_at status status_changed_at code detail ended_by
        """,
        state="status",
        in_state=dict.fromkeys(("OPEN", "APPROVED", "ACTIVATED", "REFUSED", "WITHDRAWN", "EXPIRED", "FAILED"), ""),
    ),
    "releases_vote": Table(never="id request_id round voter_id actor decision comment voted_at"),
    "releases_deployment": Table(
        never="id tenant_id idempotency_key release_id descriptor_digest application environment actor created_at"
    ),
    "releases_revocation": Table(
        never="id release_id actor reason revoked_at open_executions",
        state="open_executions",
        in_state={"leave": "", "pause": "", "fail": "failed_executions completed_at"},
    ),
    "releases_retirement": Table(never="id release_id actor reason given_up_failures retired_at"),
    "releases_attachment": Table(
        never="id release_id position kind digest content summary findings attached_by attached_at"
    ),
    "releases_trustedkey": Table(never="id tenant_id name key_id public_key added_by added_at"),
    "releases_keyrevocation": Table(never="id key_id actor reason revoked_at"),
    "executions_execution": Table(
        never="""
            id tenant_id release_id pipeline_id contract_version release_version execution_key input_digest input
            input_shape checkpoints smoke result_shape result status version event_count progress_shape held
            submitted_by tags created_at finished_at
        """,
        state="status",
        in_state={
            "QUEUED": LIVE_EXECUTION,
            "RUNNING": LIVE_EXECUTION
            + "lease_owner lease_protocol lease_worker lease_token lease_expires_at running_since",
            "WAIT_RETRY": LIVE_EXECUTION,
            "WAITING_EXTERNAL": LIVE_EXECUTION + "progress await_unit_id",
            "SUCCEEDED": "",
            "FAILED": "",
            "DLQ": "",
            "CANCELLED": "",
        },
    ),
    "executions_executionevent": Table(never="id execution_id sequence kind status actor data at"),
    "executions_deadletter": Table(
        never="""
            id tenant_id execution_id execution_version transition_key terminal_status reason error_code error_message
            retryable retries_observed step_index created_at failed_step_index fingerprint group_id
        """
    ),
    "executions_failuregroup": Table(
        never="""
            id tenant_id release_id step_index fingerprint error_code sample_message first_seen_at last_seen_at
            acknowledged_by acknowledged_at
        """,
        always="assignee note",
    ),
    "executions_resubmission": Table(
        never="""
            new_execution_id execution_id execution_version operation_key campaign_id edited checkpoint_step actor
            reason created_at
        """
    ),
    "executions_smoketest": Table(never="execution_id release_id expected_result actor created_at"),
    "executions_awaitunit": Table(
        never="""
            id tenant_id execution_id step_id step_index itemized gives_many expected_items answered_items worker_name
            created_at
        """,
        state="status",
        in_state={"WAITING_EXTERNAL": "status updated_at", "COMPLETED": "", "CANCELLED": ""},
    ),
    "executions_interaction": Table(
        never="""
            id tenant_id unit_id execution_id step_id step_index item_index worker_name correlation_id transport
            transport_metadata request output_type assignee group response actor completed_at created_at first_deadline
            note channel claimed_by claimed_until delegate claim_changes
        """,
        state="status",
        in_state={
            "DISPATCHED": """
                status version deadline dispatch_attempts next_dispatch_at last_dispatch_error updated_at
            """,
            "COMPLETED": "",
            "CANCELLED": "",
        },
    ),
    "executions_interactionevent": Table(
        never="""
            id tenant_id execution_id interaction_id sequence kind actor note claimed_by claimed_until delegate at
        """
    ),
    "executions_hold": Table(
        never="""
            id tenant_id execution_id release_id pipeline_id reason refuses_submissions started_by started_at ended_at
            ended_by end_reason
        """
    ),
    "executions_campaign": Table(
        never="""
            id tenant_id kind target_release_version start_from filters allow_failed revoked_releases reason
            rate_per_minute canary canary_over stop_after_failures failures_accepted cut cause created_by created_at
            finished_at
        """,
        state="status",
        in_state={
            "RUNNING": "status rate_since admitted",
            "PAUSED": "status rate_since admitted",
            "COMPLETED": "",
            "CANCELLED": "",
        },
        copied=frozenset({"RUNNING"}),
    ),
    "executions_campaignitem": Table(
        never="id campaign_id execution_id expected_version new_execution_id",
        state="outcome",
        in_state={"PENDING": "outcome code at", "REDRIVEN": "", "RESUBMITTED": "", "SKIPPED": ""},
    ),
    "executions_campaignevent": Table(never="id campaign_id kind actor data at"),
    "executions_wireform": Table(never="execution_id input result"),
    "executions_worker": Table(
        never="id tenant_id pipeline_id worker_id",
        always="""
            contract_version release_version protocol endpoint artifact_id artifact_digest code environment_fingerprint
            environment capacity taking holding transition_seconds registered_at last_heartbeat_at last_sent_at
            draining_since drained_by_operator_at stopped_at noted_state running abandoned alive_until blocked_reason
            capability_checked_at capability_error capability_claimed_at unanswered_checks
        """,
    ),
    "executions_workerkeychange": Table(never="id tenant_id number newest oldest actor reason at"),
    "executions_finishedcount": Table(
        never="id release_id minute", always="succeeded failed cancelled", deletable=True
    ),
    "executions_messagepath": Table(never="id", always="arrived_at expected_by"),
    "executions_workerevent": Table(
        never="id worker_id state actor data at",
        state="state",
        in_state={"DRAINING": "", "HEALTHY": ""},
        copied=frozenset({"HEALTHY"}),
    ),
}
