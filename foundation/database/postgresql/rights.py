"""The application role's rights: the columns that it may insert and update, and the tables whose rows it may delete.

The role may read every table that is listed here. It has no rights on other tables. A column that it may not insert
gets its default: the database chooses ids, times and initial states. Triggers enforce the rest (see the migrations
`*_guards*`): which values a new row may have, which changes are legal, and which rows may be deleted.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Rights:
    """The rights on one table.

    `insert_but` lists the columns of new rows that only the database sets; None: no new rows. `update` lists the
    columns that may change. In a table whose columns are mostly settings, `update_but` lists those that never change.
    """

    insert_but: str | None = None
    update: str = ""
    update_but: str | None = None
    delete: bool = False

    def insertable(self, existing: Collection[str]) -> list[str]:
        """Return which of the existing columns the role may insert."""
        return [] if self.insert_but is None else [name for name in existing if name not in self.insert_but.split()]

    def updatable(self, existing: Collection[str]) -> list[str]:
        if self.update_but is not None:
            return [name for name in existing if name not in self.update_but.split()]
        return [name for name in self.update.split() if name in existing]


READ_ONLY = Rights()
_PERSON = """
    password last_login is_superuser username first_name last_name email is_staff is_active date_joined
"""
_EXECUTION_STATE = """
    status version event_count current_step_index attempt budget_start takeovers progress progress_shape await_unit_id
    next_due_at held lease_owner lease_protocol lease_worker lease_token lost_lease lease_expires_at running_since
    last_transition_key result error_code error_message reported family_due_at updated_at finished_at
"""
_INTERACTION_STATE = """
    status version response actor completed_at dispatch_attempts next_dispatch_at last_dispatch_error updated_at
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
        "auth_user": Rights(insert_but="id", update=_PERSON),
        "auth_user_groups": READ_ONLY,
        "auth_user_user_permissions": READ_ONLY,
        "auth_group": READ_ONLY,
        "auth_group_permissions": READ_ONLY,
        "auth_permission": READ_ONLY,
        "django_content_type": READ_ONLY,
        "django_migrations": READ_ONLY,
        "knox_authtoken": READ_ONLY,
        "django_admin_log": Rights(insert_but="id"),
        "django_session": Rights(insert_but="", update="session_key session_data expire_date", delete=True),
        # Tenants
        "tenancy_tenant": Rights(insert_but="id", update_but="id slug created_at"),
        "tenancy_allowance": Rights(insert_but="", update="second granted settled counted_at"),
        "tenancy_grant": Rights(insert_but="", delete=True),
        "tenancy_membership": Rights(insert_but="id", update="role groups", delete=True),
        "tenancy_apitoken": Rights(insert_but="", update="last_used_at expiry", delete=True),
        "tenancy_logincounter": Rights(insert_but="known_until", update="attempts ends_at known_until", delete=True),
        "tenancy_usersession": Rights(insert_but="id", delete=True),
        "tenancy_invitation": Rights(
            insert_but="",
            update="expires_at state user_id token_hash mail attempts next_at error requested_at",
            delete=True,
        ),
        "tenancy_savedview": Rights(insert_but="id", delete=True),
        "tenancy_preferences": Rights(insert_but="", update="time_zone"),
        "tenancy_auditentry": Rights(insert_but="id sequence at previous_hash hash"),
        "tenancy_audithead": READ_ONLY,
        # Releases
        "releases_pipeline": Rights(insert_but="id", update_but="id tenant_id pipeline_id created_at"),
        "releases_contract": Rights(insert_but="id"),
        "releases_blob": Rights(insert_but="", update="state fingerprint checked_at checking_until"),
        "releases_blobevent": Rights(insert_but="id"),
        "releases_bloblease": Rights(insert_but="id", update="expires_at", delete=True),
        "releases_artifactupload": Rights(
            insert_but="", update="storage_id status finding cleared status_changed_at claimed_at"
        ),
        "releases_release": Rights(
            insert_but="id",
            update="""
                status findings contract_id primary_artifact_id environments checkpoints declarations progress
                status_changed_at
            """,
        ),
        "releases_artifact": Rights(insert_but="id", update="blob_id resolved"),
        "releases_activation": Rights(insert_but="id"),
        "releases_gradualactivation": Rights(insert_but="", update="step status cause ended_by end_reason"),
        "releases_activationrequest": Rights(
            insert_but="", update="base_id policy round moved status status_changed_at code detail ended_by"
        ),
        "releases_vote": Rights(insert_but="id"),
        "releases_deployment": Rights(insert_but=""),
        "releases_revocation": Rights(insert_but="id", update="failed_executions completed_at"),
        "releases_retirement": Rights(insert_but="id"),
        "releases_attachment": Rights(insert_but="id"),
        # The right to update is needed to lock the rows. A trigger rejects every update.
        "releases_trustedkey": Rights(insert_but="id", update="name"),
        "releases_keyrevocation": Rights(insert_but="id"),
        # Executions. Only retention deletes them, with their histories.
        "executions_execution": Rights(
            insert_but="""
                status version event_count attempt budget_start takeovers await_unit_id next_due_at held lease_owner
                lease_protocol lease_worker lease_token lost_lease lease_expires_at running_since
                last_transition_key result error_code error_message family_due_at created_at updated_at finished_at
            """,
            update=_EXECUTION_STATE,
            delete=True,
        ),
        "executions_executionevent": Rights(insert_but="id at", delete=True),
        "executions_deadletter": Rights(insert_but="id failed_step_index fingerprint group_id created_at", delete=True),
        # A trigger adds the groups.
        "executions_failuregroup": Rights(update="acknowledged_by acknowledged_at assignee note"),
        "executions_wireform": Rights(insert_but="", update="result", delete=True),
        "executions_resubmission": Rights(insert_but="created_at", delete=True),
        "executions_smoketest": Rights(insert_but="", delete=True),
        "executions_searchvalue": Rights(insert_but="", delete=True),
        "executions_stepreport": Rights(
            insert_but="reported_at", update="done total message details lines reported_at", delete=True
        ),
        "executions_itemgroup": Rights(insert_but="", delete=True),
        "executions_faileditems": Rights(insert_but="created_at", delete=True),
        "executions_admissionreceipt": Rights(insert_but="created_at"),
        "executions_awaitunit": Rights(
            insert_but="answered_items status created_at updated_at",
            update="status answered_items updated_at",
            delete=True,
        ),
        "executions_interaction": Rights(
            insert_but="note channel claimed_by claimed_until delegate claim_changes first_deadline",
            update=f"""
                {_INTERACTION_STATE} deadline first_deadline note channel claimed_by claimed_until delegate
                claim_changes assignee group
            """,
            delete=True,
        ),
        "executions_interactionevent": Rights(insert_but="id at", delete=True),
        "executions_hold": Rights(
            insert_but="id started_at ended_at ended_by end_reason", update="ended_at ended_by end_reason", delete=True
        ),
        "executions_heldrelease": READ_ONLY,
        # A trigger adds them.
        "executions_notification": Rights(update="state attempts next_at error", delete=True),
        # Derived from executions, and removed after two days.
        "executions_finishedcount": Rights(insert_but="id", update="succeeded failed cancelled", delete=True),
        "executions_campaign": Rights(
            insert_but="",
            update="""
                target_release_version start_from revoked_releases reason rate_per_minute canary canary_over
                stop_after_failures failures_accepted selected cut status cause rate_since admitted created_by
                finished_at
            """,
            delete=True,
        ),
        "executions_campaignbatch": Rights(insert_but="id", delete=True),
        "executions_campaignitem": Rights(
            insert_but="id new_execution_id outcome code at accepted_version",
            update="outcome code at new_execution_id accepted_version",
            delete=True,
        ),
        "executions_campaignevent": Rights(insert_but="id"),
        # Removed schedules stay, for their history.
        "executions_schedule": Rights(
            insert_but="",
            update="""
                name cron time_zone exceptions input release_version overlap catch_up_minutes starts_at ends_at
                paused_at next_at version removed_at
            """,
        ),
        "executions_schedulefire": Rights(
            insert_but="id execution_id created_at",
            update="is_backfill state code detail execution_id next_attempt_at decided_at",
            delete=True,
        ),
        # Only retention deletes former workers, with their events.
        "executions_worker": Rights(insert_but="id", update=_WORKER, delete=True),
        "executions_workerevent": Rights(insert_but="id", delete=True),
        "executions_workerkeychange": Rights(insert_but="id"),
        "executions_workereligibility": READ_ONLY,
        # Each process reports itself. Rows without reports are removed.
        "coordinator_process": Rights(
            insert_but="id", update="version started_at reported_at drift_seconds jobs", delete=True
        ),
        "executions_messagepath": Rights(insert_but="", update="arrived_at expected_by"),
        "executions_outcomepath": Rights(insert_but="", update="began_at unread_since expected_by"),
        # Alerts. Only retention deletes alerts, events and deliveries.
        "alerts_alertchannel": Rights(insert_but="", update="name address secret enabled removed_at"),
        "alerts_alertrule": Rights(insert_but="", update="name thresholds enabled silenced_until removed_at"),
        "alerts_rulechannel": Rights(insert_but="id", delete=True),
        "alerts_alert": Rights(
            insert_but="id state started_at clear_since notified_at silenced_until silenced_by resolved_at",
            update="state clear_since notified_at silenced_until silenced_by",
            delete=True,
        ),
        "alerts_alertevent": Rights(insert_but="id at", delete=True),
        "alerts_alertdelivery": Rights(
            insert_but="id state attempts next_at error created_at finished_at",
            update="state attempts next_at error",
            delete=True,
        ),
    }
)

OPTIONAL_RIGHTS: Mapping[str, Rights] = MappingProxyType(
    {
        # The links of users to the identity provider. These tables exist once OIDC_ISSUER has been set.
        "socialaccount_socialaccount": Rights(
            insert_but="id", update="user_id provider uid last_login date_joined extra_data"
        ),
        "socialaccount_socialapp": READ_ONLY,
        # The secrets of second factors, encrypted. The table exists once SECOND_FACTOR has been true.
        "mfa_authenticator": Rights(insert_but="id", update="data last_used_at", delete=True),
    }
)
