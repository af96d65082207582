"""The application role's rights: the columns it may insert and update, and the tables whose rows it may delete.

The role may read every table that is listed here. It has no rights on other tables. A column that `insert` does not
name gets its default: the database chooses ids, times and initial states. Triggers enforce the rest (see the migrations
`*_guards*`): which values a new row may have, which changes are legal, and which rows may be deleted.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

EVERY_COLUMN = "*"
EVERY_COLUMN_BUT = "* but"


@dataclass(frozen=True, slots=True)
class Rights:
    """The rights on one table. `insert` and `update` list columns, or are EVERY_COLUMN, or list what they leave out."""

    insert: str = ""
    update: str = ""
    delete: bool = False


READ_ONLY = Rights()


def named(columns: str, existing: Collection[str]) -> list[str]:
    if columns.startswith(EVERY_COLUMN):
        left_out = columns.removeprefix(EVERY_COLUMN_BUT).split()
        return [name for name in existing if name not in left_out]
    return [name for name in columns.split() if name in existing]


_PERSON = """
    password last_login is_superuser username first_name last_name email is_staff is_active date_joined
"""
_UPLOAD = """
    id tenant_id digest size part_size storage_id status finding cleared uploaded_by created_at expires_at
    status_changed_at claimed_at
"""
_RELEASE = """
    pipeline_id contract_version release_version descriptor descriptor_document descriptor_digest status findings
    contract_document contract_id primary_artifact_id environments checkpoints progress uploaded_by created_at
    status_changed_at
"""
_EXECUTION_STATE = """
    status version event_count current_step_index attempt budget_start takeovers progress progress_shape await_unit_id
    next_due_at held lease_owner lease_protocol lease_worker lease_token lost_lease lease_expires_at running_since
    last_transition_key result error_code error_message updated_at finished_at
"""
_FAILURE = """
    tenant_id execution_id execution_version transition_key terminal_status reason error_code error_message retryable
    retries_observed step_index
"""
_INTERACTION_STATE = """
    status version response actor completed_at dispatch_attempts next_dispatch_at last_dispatch_error updated_at
"""
_INTERACTION = """
    id tenant_id unit_id execution_id step_id step_index item_index worker_name correlation_id transport
    transport_metadata request output_type assignee group deadline created_at
"""
_WORKER = """
    contract_version release_version protocol endpoint artifact_id artifact_digest code environment_fingerprint
    environment capacity taking holding running abandoned transition_seconds registered_at last_heartbeat_at
    last_sent_at draining_since drained_by_operator_at stopped_at noted_state alive_until blocked_reason
    capability_checked_at capability_error capability_claimed_at unanswered_checks
"""

RIGHTS: Mapping[str, Rights] = MappingProxyType(
    {
        # Django's own tables. Users are deactivated and never deleted, so that the admin's log stays complete.
        "auth_user": Rights(insert=_PERSON, update=_PERSON),
        "auth_user_groups": READ_ONLY,
        "auth_user_user_permissions": READ_ONLY,
        "auth_group": READ_ONLY,
        "auth_group_permissions": READ_ONLY,
        "auth_permission": READ_ONLY,
        "django_content_type": READ_ONLY,
        "django_migrations": READ_ONLY,
        "knox_authtoken": READ_ONLY,
        "django_admin_log": Rights(
            insert="action_time object_id object_repr action_flag change_message content_type_id user_id"
        ),
        "django_session": Rights(insert=EVERY_COLUMN, update=EVERY_COLUMN, delete=True),
        # Tenants
        "tenancy_tenant": Rights(insert=f"{EVERY_COLUMN_BUT} id", update=f"{EVERY_COLUMN_BUT} id slug created_at"),
        "tenancy_allowance": Rights(
            insert="tenant_id second granted settled counted_at", update="second granted settled counted_at"
        ),
        "tenancy_grant": Rights(insert="id tenant_id permits expires_at", delete=True),
        "tenancy_membership": Rights(insert="user_id invited tenant_id role", update="role", delete=True),
        "tenancy_apitoken": Rights(
            insert="digest token_key created expiry name scopes last_used_at user_id tenant_id",
            update="last_used_at expiry",
            delete=True,
        ),
        "tenancy_logincounter": Rights(
            insert="key attempts ends_at", update="attempts ends_at known_until", delete=True
        ),
        "tenancy_savedview": Rights(insert="owner_id tenant_id page name query created_at", delete=True),
        "tenancy_preferences": Rights(insert="user_id time_zone", update="time_zone"),
        "tenancy_auditentry": Rights(
            insert="tenant_id actor act object_type object outcome reason request_id address details"
        ),
        "tenancy_audithead": READ_ONLY,
        # Releases
        "releases_pipeline": Rights(
            insert=f"{EVERY_COLUMN_BUT} id", update=f"{EVERY_COLUMN_BUT} id tenant_id pipeline_id created_at"
        ),
        "releases_contract": Rights(insert="pipeline_id contract_version document created_at"),
        "releases_blob": Rights(
            insert="digest size state fingerprint created_at checked_at checking_until",
            update="state fingerprint checked_at checking_until",
        ),
        "releases_blobevent": Rights(insert="digest kind data at"),
        "releases_bloblease": Rights(insert="resource holder exclusive expires_at", update="expires_at", delete=True),
        "releases_artifactupload": Rights(
            insert=_UPLOAD, update="storage_id status finding cleared status_changed_at claimed_at"
        ),
        "releases_release": Rights(
            insert=_RELEASE,
            update="""
                status findings contract_id primary_artifact_id environments checkpoints progress status_changed_at
            """,
        ),
        "releases_artifact": Rights(
            insert="release_id position artifact_id kind uri digest step_ids capabilities blob_id resolved",
            update="blob_id resolved",
        ),
        "releases_activation": Rights(
            insert="""
                pipeline_id sequence release_id previous_id kind candidate_id share gradual_id actor reason
                operation_key override request_id activated_at
            """
        ),
        "releases_gradualactivation": Rights(
            insert="""
                id pipeline_id baseline_id candidate_id steps groups bounds step step_started_at status cause actor
                reason started_at ended_by end_reason ended_at
            """,
            update="step status cause ended_by end_reason",
        ),
        "releases_activationrequest": Rights(
            insert="""
                id pipeline_id release_id base_id plan policy round moved requester_id actor reason operation_key
                activate_at created_at expires_at status status_changed_at code detail ended_by
            """,
            update="base_id policy round moved status status_changed_at code detail ended_by",
        ),
        "releases_vote": Rights(insert="request_id round voter_id actor decision comment voted_at"),
        "releases_deployment": Rights(
            insert="id tenant_id idempotency_key release_id descriptor_digest application environment actor created_at"
        ),
        "releases_revocation": Rights(
            insert="release_id actor reason revoked_at open_executions failed_executions completed_at",
            update="failed_executions completed_at",
        ),
        "releases_retirement": Rights(insert="release_id actor reason given_up_failures retired_at"),
        "releases_attachment": Rights(
            insert="release_id position kind digest content summary findings attached_by attached_at"
        ),
        # The right to update is needed to lock the rows. A trigger rejects every update.
        "releases_trustedkey": Rights(insert="tenant_id name key_id public_key added_by added_at", update="name"),
        "releases_keyrevocation": Rights(insert="key_id actor reason revoked_at"),
        # Executions. Only retention deletes them, with their histories.
        "executions_execution": Rights(
            insert="""
                id tenant_id release_id pipeline_id contract_version release_version execution_key input_digest input
                input_shape result_shape checkpoints smoke submitted_by tags traceparent current_step_index progress
                progress_shape
            """,
            update=_EXECUTION_STATE,
            delete=True,
        ),
        "executions_executionevent": Rights(insert="execution_id sequence kind status actor data", delete=True),
        "executions_deadletter": Rights(insert=_FAILURE, delete=True),
        # A trigger adds the groups.
        "executions_failuregroup": Rights(update="acknowledged_by acknowledged_at assignee note"),
        "executions_wireform": Rights(insert="execution_id input result", update="result", delete=True),
        "executions_resubmission": Rights(
            insert="""
                new_execution_id execution_id execution_version operation_key campaign_id edited checkpoint_step actor
                reason
            """,
            delete=True,
        ),
        "executions_smoketest": Rights(insert="execution_id release_id expected_result actor created_at", delete=True),
        "executions_admissionreceipt": Rights(
            insert="""
                execution_id tenant_id pipeline_id release_id client_key intent_fingerprint release_fingerprint
                artifact_id artifact_digest
            """
        ),
        "executions_awaitunit": Rights(
            insert="""
                id tenant_id execution_id step_id step_index itemized gives_many expected_items worker_name traceparent
            """,
            update="status answered_items updated_at",
            delete=True,
        ),
        "executions_interaction": Rights(
            insert=f"{_INTERACTION} {_INTERACTION_STATE}",
            update=f"""
                {_INTERACTION_STATE} deadline first_deadline note channel claimed_by claimed_until delegate
                claim_changes
            """,
            delete=True,
        ),
        "executions_interactionevent": Rights(
            insert="""
                tenant_id execution_id interaction_id sequence kind actor note claimed_by claimed_until delegate
            """,
            delete=True,
        ),
        "executions_hold": Rights(
            insert="tenant_id execution_id release_id pipeline_id reason refuses_submissions started_by",
            update="ended_at ended_by end_reason",
            delete=True,
        ),
        "executions_heldrelease": READ_ONLY,
        # Derived from executions, and removed after two days.
        "executions_finishedcount": Rights(
            insert="release_id minute succeeded failed cancelled", update="succeeded failed cancelled", delete=True
        ),
        "executions_campaign": Rights(
            insert="""
                id tenant_id kind target_release_version start_from filters allow_failed revoked_releases reason
                rate_per_minute canary canary_over stop_after_failures failures_accepted cut status cause rate_since
                admitted created_by created_at finished_at
            """,
            update="""
                target_release_version start_from revoked_releases reason rate_per_minute canary canary_over
                stop_after_failures failures_accepted status cause rate_since admitted created_by finished_at
            """,
            delete=True,
        ),
        "executions_campaignitem": Rights(
            insert="campaign_id execution_id expected_version",
            update="outcome code at new_execution_id accepted_version",
            delete=True,
        ),
        "executions_campaignevent": Rights(insert="campaign_id kind actor data at"),
        # Only retention deletes former workers, with their events.
        "executions_worker": Rights(insert=f"tenant_id pipeline_id worker_id {_WORKER}", update=_WORKER, delete=True),
        "executions_workerevent": Rights(insert="worker_id state actor data at", delete=True),
        "executions_workerkeychange": Rights(insert="tenant_id number newest oldest actor reason at"),
        "executions_workereligibility": READ_ONLY,
        # Each process reports itself. Rows without reports are removed.
        "coordinator_process": Rights(
            insert="kind host pid version started_at reported_at drift_seconds jobs",
            update="version started_at reported_at drift_seconds jobs",
            delete=True,
        ),
        "executions_messagepath": Rights(insert="id arrived_at expected_by", update="arrived_at expected_by"),
        "executions_outcomepath": Rights(
            insert="id began_at unread_since expected_by", update="began_at unread_since expected_by"
        ),
        # Alerts. Only retention deletes alerts, events and deliveries.
        "alerts_alertchannel": Rights(
            insert="id tenant_id name kind address secret enabled created_by created_at removed_at",
            update="name address secret enabled removed_at",
        ),
        "alerts_alertrule": Rights(
            insert="""
                id tenant_id name kind thresholds pipeline_id enabled silenced_until created_by created_at removed_at
            """,
            update="name thresholds enabled silenced_until removed_at",
        ),
        "alerts_rulechannel": Rights(insert="rule_id channel_id", delete=True),
        "alerts_alert": Rights(
            insert="tenant_id rule_id subject title detail path",
            update="state clear_since notified_at silenced_until silenced_by",
            delete=True,
        ),
        "alerts_alertevent": Rights(insert="alert_id kind actor data", delete=True),
        "alerts_alertdelivery": Rights(
            insert="tenant_id channel_id alert_id kind", update="state attempts next_at error", delete=True
        ),
    }
)
