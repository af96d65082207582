"""The acts that the audit log names, and how pages, views and commands declare theirs."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from django.core.exceptions import PermissionDenied

from tenancy.models import Tenant
from tenancy.roles import Scope

F = TypeVar("F", bound=Callable[..., Any])


class Act(StrEnum):
    """The values are in the entries of the log. They never change, so that filters and reports stay valid.

    A value begins with the type of the object of most acts that have it.
    """

    ACTIVATION_REQUEST_APPROVE = "activation_request.approve"
    ACTIVATION_REQUEST_CREATE = "activation_request.create"
    ACTIVATION_REQUEST_EXPIRE = "activation_request.expire"
    ACTIVATION_REQUEST_FAIL = "activation_request.fail"
    ACTIVATION_REQUEST_RESTART = "activation_request.restart"
    ACTIVATION_REQUEST_VOTE = "activation_request.vote"
    ACTIVATION_REQUEST_WITHDRAW = "activation_request.withdraw"
    ADMIN_PAGE = "admin.page"
    ARTIFACT_DOWNLOAD = "artifact.download"
    ARTIFACT_UPLOAD_BEGIN = "artifact_upload.begin"
    ARTIFACT_UPLOAD_COMPLETE = "artifact_upload.complete"
    ALERT_SILENCE = "alert.silence"
    ALERT_UNSILENCE = "alert.unsilence"
    ALERT_CHANNEL_ADD = "alert_channel.add"
    ALERT_CHANNEL_CHANGE = "alert_channel.change"
    ALERT_CHANNEL_REMOVE = "alert_channel.remove"
    ALERT_CHANNEL_TEST = "alert_channel.test"
    ALERT_RULE_ADD = "alert_rule.add"
    ALERT_RULE_CHANGE = "alert_rule.change"
    ALERT_RULE_REMOVE = "alert_rule.remove"
    ARTIFACTS_MOVE = "artifacts.move"
    ARTIFACTS_REMOVE = "artifacts.remove"
    BACKUP_CREATE = "backup.create"
    BACKUP_RESTORE = "backup.restore"
    CAMPAIGN_CANCEL = "campaign.cancel"
    CAMPAIGN_DISCARD = "campaign.discard"
    CAMPAIGN_DRAFT = "campaign.draft"
    CAMPAIGN_PAUSE = "campaign.pause"
    CAMPAIGN_PREVIEW = "campaign.preview"
    CAMPAIGN_RESUME = "campaign.resume"
    CAMPAIGN_START = "campaign.start"
    DEPLOYMENT_CREATE = "deployment.create"
    EXECUTION_CANCEL = "execution.cancel"
    EXECUTION_PAUSE = "execution.pause"
    EXECUTION_REDRIVE = "execution.redrive"
    EXECUTION_RESUBMIT = "execution.resubmit"
    EXECUTION_RESUME = "execution.resume"
    EXECUTION_SUBMIT = "execution.submit"
    EXECUTIONS_REMOVE = "executions.remove"
    FAILURE_GROUP_CHANGE = "failure_group.change"
    GRADUAL_ACTIVATION_PROMOTE = "gradual_activation.promote"
    GRADUAL_ACTIVATION_START = "gradual_activation.start"
    GRADUAL_ACTIVATION_STEP = "gradual_activation.step"
    GRADUAL_ACTIVATION_WITHDRAW = "gradual_activation.withdraw"
    INVITATION_ACCEPT = "invitation.accept"
    INVITATION_CREATE = "invitation.create"
    INVITATION_SEND = "invitation.send"
    INVITATION_WITHDRAW = "invitation.withdraw"
    INTERACTION_ANSWER = "interaction.answer"
    INTERACTION_CLAIM = "interaction.claim"
    INTERACTION_DELEGATE = "interaction.delegate"
    INTERACTION_REASSIGN = "interaction.reassign"
    INTERACTION_RELEASE = "interaction.release"
    MEMBERSHIP_ADD = "membership.add"
    MEMBERSHIP_BEGIN = "membership.begin"
    MEMBERSHIP_CHANGE = "membership.change"
    MEMBERSHIP_REMOVE = "membership.remove"
    POLICY_CHANGE = "policy.change"
    PIPELINE_PAUSE = "pipeline.pause"
    PIPELINE_RESUME = "pipeline.resume"
    QUOTAS_CHANGE = "quotas.change"
    RELEASE_ACTIVATE = "release.activate"
    RELEASE_ATTACH = "release.attach"
    RELEASE_PAUSE = "release.pause"
    RELEASE_REGISTER = "release.register"
    RELEASE_REJECT = "release.reject"
    RELEASE_RESTORE_BYTES = "release.restore_bytes"
    RELEASE_RESUME = "release.resume"
    RELEASE_RETIRE = "release.retire"
    RELEASE_REVOKE = "release.revoke"
    RELEASE_SMOKE_TEST = "release.smoke_test"
    RELEASE_UPLOAD = "release.upload"
    SCHEDULE_ADD = "schedule.add"
    SCHEDULE_BACKFILL = "schedule.backfill"
    SCHEDULE_CHANGE = "schedule.change"
    SCHEDULE_PAUSE = "schedule.pause"
    SCHEDULE_REMOVE = "schedule.remove"
    SCHEDULE_RESUME = "schedule.resume"
    SETTINGS_LOAD = "settings.load"
    SAVED_VIEW_REMOVE = "saved_view.remove"
    SAVED_VIEW_SAVE = "saved_view.save"
    TENANT_CHANGE = "tenant.change"
    TENANT_CREATE = "tenant.create"
    TOKEN_END = "token.end"  # noqa: S105 - not a password
    TOKEN_ISSUE = "token.issue"  # noqa: S105
    TRUSTED_KEY_ADD = "trusted_key.add"
    TRUSTED_KEY_REVOKE = "trusted_key.revoke"
    USER_CHANGE = "user.change"
    USER_CREATE = "user.create"
    USER_END_SESSIONS = "user.end_sessions"
    USER_LOG_IN = "user.log_in"
    USER_LOG_OUT = "user.log_out"
    USER_PASSWORD = "user.password"  # noqa: S105
    USER_SECOND_FACTOR = "user.second_factor"
    USER_TIME_ZONE = "user.time_zone"
    WORKER_DRAIN = "worker.drain"
    WORKER_HEARTBEAT = "worker.heartbeat"
    WORKER_REGISTER = "worker.register"
    WORKER_UNDRAIN = "worker.undrain"
    WORKER_KEY_CHANGE = "worker_key.change"


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a page of the admin or a method of an API view does, and the scopes that it needs in the row's tenant.

    `act` is None if nothing is recorded when it is denied. Of denied requests to pages of the admin, each POST is
    recorded, and others if `reads` is true.
    """

    act: Act | None
    scopes: tuple[Scope, ...]
    reads: bool


def declares(act: Act | None, *scopes: Scope, reads: bool = False) -> Callable[[F], F]:
    """Return a decorator that declares the act of a view and the scopes that it needs."""

    def decorate(view: F) -> F:
        setattr(view, "declaration", Declaration(act, scopes, reads))  # noqa: B010 - functions have no such attribute
        return view

    return decorate


def declared(view: Any) -> Declaration | None:
    """Return the declaration of a view, also through the decorators that wrap it; None if it has none."""
    declaration: Declaration | None = getattr(view, "declaration", None)
    return declaration


class Denied(PermissionDenied):
    """The sender of a request may not do `act` in `tenant`. The handlers of the admin and of the API record it.

    `tenant` is None for the chain of the installation. The API responds with `refusal`.
    """

    def __init__(self, act: Act, tenant: Tenant | None, refusal: Exception | None = None) -> None:
        super().__init__(str(refusal or ""))
        self.act = act
        self.tenant = tenant
        self.refusal = refusal
