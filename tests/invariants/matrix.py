"""The changes that the database allows in the rows of each table. It allows no others.

`test_matrix` tries each column of each table in each state, as the application role and as the owner of the tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from releases.models.pipeline import MEMBERS
from tenancy.quota_table import QUOTAS


@dataclass(frozen=True)
class Table:
    """Which columns of a table an UPDATE of a single column may change, and what rejects all other changes.

    The application role may change `always` in any state, and `in_state` in the states that it names. `state` is the
    column with the state of a row. `together` names columns that the role only changes together with others (see the
    tables of attempts). `unguarded` names columns that no trigger but only the role's privileges protect. All other
    changes are rejected even for the owner, and a DELETE by `kept_by`. `append_only` names the trigger that rejects
    both. The role may delete rows if `deletable` is true.
    """

    always: str = ""
    state: str = ""
    in_state: Mapping[str, str] = field(default_factory=dict)
    together: str = ""
    unguarded: str = ""
    kept_by: str = ""
    append_only: str = ""
    deletable: bool = False

    def changeable(self, state: str) -> set[str]:
        return {*self.always.split(), *self.in_state.get(state, "").split()}

    @property
    def ever_changed(self) -> set[str]:
        """The columns that the role may change in some state, alone or with others."""
        return {*self.together.split(), *self.always.split(), *" ".join(self.in_state.values()).split()}


LIVE_EXECUTION = """
    current_step_index attempt budget_start takeovers next_due_at family_due_at last_transition_key error_code
    error_message updated_at
"""
OPEN_INTERACTION = "status version deadline dispatch_attempts next_dispatch_at last_dispatch_error updated_at"

MATRIX = {
    "tenancy_tenant": Table(
        always=" ".join(("name retention_days failed_retention_days", *(quota.column for quota in QUOTAS))),
        unguarded="id slug created_at",
    ),
    "tenancy_allowance": Table(always="second granted settled counted_at", unguarded="tenant_id"),
    "tenancy_grant": Table(unguarded="id tenant_id permits expires_at", deletable=True),
    "tenancy_membership": Table(always="role groups", unguarded="id user_id tenant_id", deletable=True),
    "tenancy_apitoken": Table(
        always="last_used_at expiry", unguarded="user_id digest token_key created name scopes tenant_id", deletable=True
    ),
    "tenancy_logincounter": Table(always="attempts ends_at known_until", unguarded="key", deletable=True),
    "tenancy_usersession": Table(unguarded="id session_id user_id address user_agent", deletable=True),
    "tenancy_invitation": Table(
        state="state",
        in_state={"OPEN": "expires_at state mail attempts next_at error requested_at"},
        together="token_hash user_id",
        kept_by="invitation_not_deleted",
    ),
    "tenancy_savedview": Table(unguarded="id owner_id tenant_id name query created_at", deletable=True),
    "tenancy_preferences": Table(always="time_zone", unguarded="user_id"),
    "tenancy_auditentry": Table(append_only="audit_append_only"),
    "tenancy_audithead": Table(kept_by="audit_head_not_deleted"),
    "releases_pipeline": Table(
        always=" ".join(member.column for member in MEMBERS if member.column != "notify_channel"),
        state="application",
        in_state={"": "application"},
        together="activation_id notify_channel",
    ),
    "releases_contract": Table(append_only="contract_immutable"),
    "releases_blob": Table(
        always="state fingerprint checked_at checking_until", state="state", kept_by="blob_not_deleted"
    ),
    "releases_blobevent": Table(state="kind", append_only="blob_event_append_only"),
    "releases_bloblease": Table(always="expires_at", unguarded="id holder exclusive", deletable=True),
    "releases_artifactupload": Table(
        always="cleared",
        state="status",
        in_state=dict.fromkeys(("OPEN", "VERIFYING"), "storage_id status status_changed_at claimed_at"),
        unguarded="expires_at",
        together="finding",
        kept_by="upload_not_deleted",
    ),
    "releases_release": Table(
        state="status",
        in_state={"UPLOADED": "status status_changed_at", "VERIFYING": "status status_changed_at progress"},
        together="findings contract_id primary_artifact_id environments checkpoints declarations",
        kept_by="release_not_deleted",
    ),
    "releases_artifact": Table(together="blob_id resolved", kept_by="artifact_not_deleted"),
    "releases_activation": Table(append_only="activation_append_only"),
    "releases_gradualactivation": Table(
        state="status",
        unguarded="step_started_at ended_at",
        together="step status cause ended_by end_reason",
        kept_by="gradual_activation_not_deleted",
    ),
    "releases_activationrequest": Table(
        state="status",
        together="base_id policy round moved status status_changed_at code detail ended_by",
        kept_by="activation_request_not_deleted",
    ),
    "releases_vote": Table(append_only="vote_append_only"),
    "releases_deployment": Table(append_only="deployment_append_only"),
    "releases_revocation": Table(
        state="open_executions", in_state={"fail": "failed_executions completed_at"}, kept_by="revocation_append_only"
    ),
    "releases_retirement": Table(append_only="retirement_append_only"),
    "releases_attachment": Table(append_only="attachment_append_only"),
    "releases_trustedkey": Table(append_only="trusted_key_append_only"),
    "releases_keyrevocation": Table(append_only="key_revocation_append_only"),
    "executions_execution": Table(
        state="status",
        in_state={
            **dict.fromkeys(("QUEUED", "WAIT_RETRY"), LIVE_EXECUTION),
            "RUNNING": f"""
                {LIVE_EXECUTION} lease_owner lease_protocol lease_worker lease_token lease_expires_at running_since
            """,
            "WAITING_EXTERNAL": f"{LIVE_EXECUTION} progress await_unit_id",
        },
        together="result status version event_count progress_shape held finished_at lost_lease reported",
        kept_by="execution_not_deleted",
    ),
    "executions_executionevent": Table(append_only="event_append_only"),
    "executions_deadletter": Table(append_only="deadletter_append_only"),
    "executions_failuregroup": Table(
        always="assignee note", together="acknowledged_by acknowledged_at", kept_by="failure_group_not_deleted"
    ),
    "executions_resubmission": Table(append_only="resubmission_append_only"),
    "executions_smoketest": Table(append_only="smoke_test_append_only"),
    "executions_admissionreceipt": Table(append_only="admission_receipt_append_only"),
    "executions_awaitunit": Table(
        state="status",
        in_state={"WAITING_EXTERNAL": "status updated_at"},
        together="answered_items",
        kept_by="await_unit_over_is_over",
    ),
    "executions_interaction": Table(
        state="status",
        in_state=dict.fromkeys(("WAITING", "DISPATCHING", "DISPATCHED"), OPEN_INTERACTION),
        together="""
            response actor completed_at first_deadline note channel claimed_by claimed_until delegate claim_changes
            assignee group
        """,
        kept_by="interaction_over_is_over",
    ),
    "executions_interactionevent": Table(append_only="interaction_event_append_only"),
    "executions_hold": Table(together="ended_at ended_by end_reason", kept_by="hold_ends_once"),
    "executions_campaign": Table(
        state="status",
        in_state=dict.fromkeys(("PAUSED", "RUNNING"), "status rate_since admitted"),
        together="""
            target_release_version start_from revoked_releases reason rate_per_minute canary canary_over
            stop_after_failures failures_accepted selected cut cause created_by finished_at
        """,
        kept_by="campaign_not_deleted",
    ),
    "executions_campaignbatch": Table(unguarded="id campaign_id position executions versions", deletable=True),
    "executions_campaignitem": Table(
        state="outcome",
        in_state={"PENDING": "outcome code at"},
        together="new_execution_id accepted_version",
        kept_by="campaign_item_not_deleted",
    ),
    "executions_campaignevent": Table(append_only="campaignevent_append_only"),
    "executions_searchvalue": Table(append_only="search_value_append_only"),
    "executions_stepreport": Table(always="done total message details lines reported_at", kept_by="step_report_kept"),
    "executions_itemgroup": Table(append_only="item_group_append_only"),
    "executions_faileditems": Table(append_only="failed_items_append_only"),
    "executions_wireform": Table(together="result", kept_by="wire_form_written_once"),
    "executions_worker": Table(
        always="""
            contract_version release_version protocol endpoint artifact_id artifact_digest code environment_fingerprint
            environment capacity taking holding transition_seconds registered_at last_heartbeat_at last_sent_at
            draining_since drained_by_operator_at stopped_at noted_state running abandoned alive_until blocked_reason
            capability_checked_at capability_error capability_claimed_at unanswered_checks
        """,
        unguarded="id tenant_id pipeline_id worker_id",
        kept_by="worker_kept",
    ),
    "executions_workerkeychange": Table(append_only="worker_key_change_append_only"),
    "executions_finishedcount": Table(
        always="succeeded failed cancelled", unguarded="id release_id minute", deletable=True
    ),
    "executions_notification": Table(
        state="state",
        in_state={"PENDING": "state attempts next_at error"},
        unguarded="id tenant_id execution_id channel_id document created_at finished_at",
        kept_by="notification_kept",
    ),
    "executions_schedule": Table(
        always="""
            name cron time_zone exceptions input release_version overlap catch_up_minutes starts_at ends_at next_at
            version
        """,
        together="paused_at removed_at",
        unguarded="id tenant_id pipeline_id created_by created_at",
        kept_by="schedule_not_deleted",
    ),
    "executions_schedulefire": Table(
        state="state",
        in_state={
            **dict.fromkeys(("SKIPPED", "MISSED", "REFUSED"), "is_backfill state code detail decided_at"),
            "DUE": "is_backfill code detail next_attempt_at",
        },
        together="execution_id",
        kept_by="schedule_fire_kept",
    ),
    "executions_messagepath": Table(always="arrived_at expected_by"),
    "executions_outcomepath": Table(together="began_at unread_since expected_by"),
    "alerts_alertchannel": Table(
        always="name address secret enabled removed_at", unguarded="id tenant_id kind created_by created_at"
    ),
    "alerts_alertrule": Table(
        always="name enabled silenced_until removed_at thresholds",
        unguarded="id tenant_id kind pipeline_id created_by created_at",
    ),
    "alerts_rulechannel": Table(unguarded="id rule_id channel_id", deletable=True),
    "alerts_alert": Table(
        state="state",
        in_state={"FIRING": "state clear_since notified_at silenced_until silenced_by"},
        unguarded="id tenant_id rule_id subject title detail path started_at resolved_at",
        kept_by="alert_kept",
    ),
    "alerts_alertevent": Table(append_only="alert_event_append_only"),
    "alerts_alertdelivery": Table(
        state="state",
        in_state={"PENDING": "state attempts next_at error"},
        unguarded="id tenant_id channel_id alert_id kind created_at finished_at",
        kept_by="alert_delivery_kept",
    ),
    "coordinator_process": Table(
        always="version started_at reported_at drift_seconds jobs", unguarded="id kind host pid", deletable=True
    ),
    "executions_workerevent": Table(state="state", append_only="workerevent_append_only"),
}
