"""Middleware: records requests to the admin that its pages denied, because the user lacks the role or the tenant."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse

from tenancy import audit
from tenancy.access import actor

DOWNLOAD: Final = "releases_release_artifact"
DOWNLOADS: Final = frozenset({DOWNLOAD, "executions_execution_payload"})
REASONS: Final = {
    HTTPStatus.FORBIDDEN: "The user may not do this.",
    HTTPStatus.NOT_FOUND: "The user may not see this, or it does not exist.",
}
ACTS: Final = {
    DOWNLOAD: "artifact.download",
    "releases_pipeline_gradual": "gradual_activation.start",
    "releases_pipeline_gradual_promote": "gradual_activation.promote",
    "releases_pipeline_gradual_step": "gradual_activation.step",
    "releases_pipeline_gradual_withdraw": "gradual_activation.withdraw",
    "releases_pipeline_policy": "policy.change",
    "releases_activationrequest_vote": "activation_request.vote",
    "releases_activationrequest_withdraw": "activation_request.withdraw",
    "releases_release_activate": "release.activate",
    "releases_release_request": "activation_request.create",
    "releases_release_attach": "release.attach",
    "releases_release_direct": "artifact_upload.begin",
    "releases_release_direct_one": "artifact_upload.complete",
    "releases_pipeline_rollback": "release.activate",
    "releases_release_retire": "release.retire",
    "releases_release_revoke": "release.revoke",
    "releases_release_upload": "release.upload",
    "executions_smoketest_new": "release.smoke_test",
    "releases_trustedkey_new": "trusted_key.add",
    "releases_trustedkey_revoke": "trusted_key.revoke",
    "executions_campaign_cancel": "campaign.cancel",
    "executions_campaign_pause": "campaign.pause",
    "executions_campaign_resume": "campaign.resume",
    "executions_campaign_start": "campaign.draft",
    "executions_campaign_draft": "campaign.draft",
    "executions_campaign_begin": "campaign.start",
    "executions_campaign_discard": "campaign.discard",
    "executions_campaign_instead": "campaign.draft",
    "executions_execution_act": "campaign.draft",
    "executions_execution_cancel": "execution.cancel",
    "executions_execution_redrive": "execution.redrive",
    "executions_execution_resubmit": "execution.resubmit",
    "executions_execution_save_view": "saved_view.save",
    "executions_execution_remove_view": "saved_view.remove",
    "executions_failuregroup_decide": "failure_group.change",
    "executions_hold_execution_pause": "execution.pause",
    "executions_hold_execution_resume": "execution.resume",
    "executions_hold_pipeline_pause": "pipeline.pause",
    "executions_hold_pipeline_resume": "pipeline.resume",
    "executions_hold_release_pause": "release.pause",
    "executions_hold_release_resume": "release.resume",
    "executions_interaction_answer": "interaction.answer",
    "executions_interaction_claim": "interaction.claim",
    "executions_interaction_delegate": "interaction.delegate",
    "executions_interaction_release": "interaction.release",
    "executions_worker_drain": "worker.drain",
    "executions_worker_undrain": "worker.undrain",
    "alerts_alert_silence": "alert.silence",
    "alerts_alertchannel_edit": "alert_channel.change",
    "alerts_alertchannel_new": "alert_channel.add",
    "alerts_alertchannel_remove": "alert_channel.remove",
    "alerts_alertchannel_test": "alert_channel.test",
    "alerts_alertrule_edit": "alert_rule.change",
    "alerts_alertrule_new": "alert_rule.add",
    "alerts_alertrule_remove": "alert_rule.remove",
    "alerts_alertrule_silence": "alert_rule.change",
    "tenancy_apitoken_add": "token.issue",
    "tenancy_apitoken_delete": "token.end",
    "tenancy_membership_add": "membership.add",
    "tenancy_membership_change": "membership.change",
    "tenancy_membership_delete": "membership.remove",
    "tenancy_tenant_add": "tenant.create",
    "tenancy_tenant_change": "tenant.change",
    "tenancy_tenant_worker_key": "worker_key.change",
    "auth_user_add": "user.create",
    "auth_user_change": "user.change",
    "auth_user_password_change": "user.password",
    "account": "user.time_zone",
}
"""The act of each page that changes something. Other pages have the act `admin.page`."""


def admin_denials(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Record POSTs with the status 403 or 404, and such downloads.

    The entry is in the chain of the tenant whose role was not sufficient. Otherwise it is in that of the installation.
    """
    admin = reverse("admin:index")

    def respond(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        reason = REASONS.get(response.status_code)  # type: ignore[call-overload]  # the status is an int
        match = request.resolver_match
        if reason and match and request.path_info.startswith(admin) and request.user.is_authenticated:
            page = str(match.url_name)
            if request.method == "POST" or page in DOWNLOADS:
                audit.deny(
                    ACTS.get(page, "admin.page"),
                    tenant=getattr(request, "denied_tenant", None),
                    actor=actor(request.user),
                    object_type="path",
                    object=request.path,
                    reason=reason,
                )
        return response

    return respond
