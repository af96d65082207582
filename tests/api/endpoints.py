"""A row for each endpoint of the REST API: the scope that it needs, and a request that succeeds."""

from dataclasses import dataclass, field, replace
from typing import Any

from tenancy.roles import Scope
from tests import making, signing
from tests.requesting import soon

Endpoint = tuple[str, str]
WHY = {"reason": "because"}
RELEASE = {"releaseVersion": "1.0", **WHY}
OTHER = "org.example.other"
"""A pipeline whose release 2.0 replaced 1.0. Its release 3.0 was never active."""
VOTED = "org.example.voted"
"""A pipeline with an open request that needs two approvals."""
PIPELINE = "pipelines/{pipeline_id}"
REQUEST = f"{PIPELINE}/activation-requests/{{request_id}}"
CONTINUATION = f"{PIPELINE}/releases/{{release_version}}/recovery/continuation"
GRADUAL = f"{PIPELINE}/gradual-activations/{{gradual_id}}"
ORIGIN = "http://worker.example"
FILTERS = {"pipelineId": making.PIPELINE}
SUBMISSION = {**FILTERS, "input": {"n": 2}, "idempotencyKey": "second"}
REST_WORKER = {**FILTERS, "contractVersion": "c", "releaseVersion": "1.0", "workerId": "rest-1", "endpoint": ORIGIN}

READS = dict.fromkeys(
    f"""
    alert-channels alert-channels/{{channel_id}} alert-rules alert-rules/{{rule_id}} alerts alerts/{{alert_id}}
    campaigns campaigns/{{campaign_id}} campaigns/{{campaign_id}}/items
    dead-letters deployments drift
    executions executions/{{execution_id}} executions/{{execution_id}}/events executions/{{execution_id}}/provenance
    executions/{{execution_id}}/explanation
    failure-groups failure-groups/{{failure_group_id}} fleet holds
    questions questions/{{question_id}} interactions interactions/{{question_id}}
    pipelines {PIPELINE} {PIPELINE}/activation-requests {REQUEST} {REQUEST}/review
    {PIPELINE}/activations {PIPELINE}/active {PIPELINE}/attachments/{{digest}} {PIPELINE}/comparison
    {PIPELINE}/descriptors/{{descriptor_digest}} {PIPELINE}/drift {PIPELINE}/gradual-activations {GRADUAL}
    {PIPELINE}/history/export active active/export
    {PIPELINE}/releases {PIPELINE}/releases/{{release_version}} {PIPELINE}/releases/{{release_version}}/preflight
    {PIPELINE}/releases/{{release_version}}/recovery {PIPELINE}/releases/{{release_version}}/recovery/record
    {PIPELINE}/releases/{{release_version}}/smoke {PIPELINE}/releases/{{release_version}}/smoke/{{smoke_test_id}}
    {PIPELINE}/retirements {PIPELINE}/revocations {PIPELINE}/rollback-targets provenance-key notifications quotas
    schedules schedules/{{schedule_id}} schedules/{{schedule_id}}/fires status stranded trusted-keys
    worker-plan workers workers/{{pipeline_id}}/{{worker_id}}/events
    """.split(),
    Scope.READ,
) | {
    "artifact-uploads/{upload_id}": Scope.REGISTER,
    "artifacts/{artifact_digest}": Scope.ARTIFACTS,
    "audit": Scope.AUDIT,
    "audit/export": Scope.AUDIT,
    "executions/{execution_id}/failed-items": Scope.PAYLOADS,
    CONTINUATION: Scope.PAYLOADS,
    "executions/{execution_id}/log": Scope.PAYLOADS,
    "executions/{execution_id}/result": Scope.PAYLOADS,
    "members": Scope.AUDIT,
    "invitations": Scope.AUDIT,
}
"""The endpoints that only read."""
QUERIES = {
    **dict.fromkeys((f"{PIPELINE}/retirements", f"{PIPELINE}/revocations"), "?releaseVersion=1.0"),
    "audit/export": "?format=ndjson",
    CONTINUATION: "?to=0.9",
}
"""The parameters that endpoints require."""
NEEDS_S3 = {"artifact-uploads", "artifact-uploads/{upload_id}", "artifact-uploads/{upload_id}/complete"}
"""Endpoints that succeed only with a store for direct uploads: see `test_uploads`."""


@dataclass(frozen=True)
class Change:
    """A request that changes something.

    `also` are scopes that this body needs in addition. `at` replaces names of objects in the path, and texts in `body`
    may contain such names. `after` is an endpoint whose request precedes this one.
    """

    scope: Scope
    act: str
    status: int = 200
    body: dict[str, Any] = field(default_factory=dict)
    also: tuple[Scope, ...] = ()
    at: dict[str, str] = field(default_factory=dict)
    after: str = ""


LIVE, DEAD, DRAFT = {"execution_id": "{live_id}"}, {"execution_id": "{dead_id}"}, {"campaign_id": "{draft_id}"}
AT_OTHER = {"pipeline_id": OTHER}
OPERATE, ACTIVATE, ADMINISTER = Scope.OPERATE, Scope.ACTIVATE, Scope.ADMINISTER
ANSWER, REGISTER = Scope.ANSWER, Scope.REGISTER
SUBMIT, AS_VIEWER = (Scope.SUBMIT,), (Scope.READ, Scope.ARTIFACTS)
TO_ALL = {"pipeline_id": VOTED, "request_id": "{voted_id}"}
BACKFILL = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-03T00:00:00Z"}
ADDRESS = {"kind": "webhook", "address": "https://receiver.example/hook"}
STEPS = {"steps": [{"share": 5, "minimumSample": 50, "minimumMinutes": 10}]}
EXECUTION = "executions/{execution_id}"
CAMPAIGN = "campaigns/{campaign_id}"
QUESTION = "questions/{question_id}"


def former(path: str) -> str:
    """Return the path of an endpoint of questions in the version before."""
    return path.replace("questions/answer", "interactions/complete").replace("questions/", "interactions/")


WORKER = "workers/{pipeline_id}/{worker_id}"
SCHEDULE = "schedules/{schedule_id}"
CHANNEL = "alert-channels/{channel_id}"
RULE = "alert-rules/{rule_id}"
CHANGES: dict[Endpoint, Change] = {
    ("POST", "executions"): Change(Scope.SUBMIT, "execution.submit", 202, SUBMISSION),
    ("POST", "executions:batch"): Change(Scope.SUBMIT, "execution.submit", 200, {"items": [SUBMISSION]}),
    ("POST", f"{EXECUTION}/cancel"): Change(OPERATE, "execution.cancel", 200, WHY, at=LIVE),
    ("POST", f"{EXECUTION}/pause"): Change(OPERATE, "execution.pause", 201, WHY, at=LIVE),
    ("POST", f"{EXECUTION}/resume"): Change(OPERATE, "execution.resume", 200, WHY, at=LIVE, after=f"{EXECUTION}/pause"),
    ("POST", f"{EXECUTION}/redrive"): Change(OPERATE, "execution.redrive", 200, WHY, at=DEAD),
    ("POST", f"{EXECUTION}/resubmit"): Change(
        OPERATE, "execution.resubmit", 202, {**RELEASE, "operationKey": "k"}, also=SUBMIT, at=DEAD
    ),
    ("POST", f"{PIPELINE}/releases"): Change(REGISTER, "release.upload", 202),
    ("POST", f"{PIPELINE}/attachments"): Change(REGISTER, "release.attach", 200),
    ("PATCH", PIPELINE): Change(ADMINISTER, "policy.change", 200, {"reasonRequired": True}),
    ("POST", f"{PIPELINE}/pause"): Change(ACTIVATE, "pipeline.pause", 201, WHY),
    ("POST", f"{PIPELINE}/resume"): Change(ACTIVATE, "pipeline.resume", 200, WHY, after=f"{PIPELINE}/pause"),
    ("POST", f"{PIPELINE}/activations"): Change(ACTIVATE, "release.activate", 201, RELEASE),
    ("POST", f"{PIPELINE}/revocations"): Change(ACTIVATE, "release.revoke", 201, RELEASE),
    ("POST", f"{PIPELINE}/retirements"): Change(ACTIVATE, "release.retire", 201, {**RELEASE, "releaseVersion": "0.9"}),
    ("POST", f"{PIPELINE}/rollback"): Change(Scope.ROLL_BACK, "release.activate", 201, WHY, at=AT_OTHER),
    ("POST", f"{PIPELINE}/activation-requests"): Change(
        ACTIVATE, "activation_request.create", 201, {**RELEASE, "activateAt": soon().isoformat()}
    ),
    ("POST", f"{REQUEST}/votes"): Change(
        Scope.VOTE, "activation_request.vote", 200, {"decision": "approve", "round": 1}, at=TO_ALL
    ),
    ("POST", f"{REQUEST}/withdrawal"): Change(ACTIVATE, "activation_request.withdraw", 200, WHY),
    ("POST", f"{PIPELINE}/gradual-activations"): Change(
        ACTIVATE, "gradual_activation.start", 201, {"releaseVersion": "3.0", **STEPS}, at=AT_OTHER
    ),
    ("POST", f"{GRADUAL}/step"): Change(ACTIVATE, "gradual_activation.step", 200, {**WHY, "expectedStep": 0}),
    ("POST", f"{GRADUAL}/promotion"): Change(ACTIVATE, "gradual_activation.promote", 200, WHY),
    ("POST", f"{GRADUAL}/withdrawal"): Change(Scope.ROLL_BACK, "gradual_activation.withdraw", 200, WHY),
    ("POST", f"{PIPELINE}/releases/{{release_version}}/smoke"): Change(
        ACTIVATE, "release.smoke_test", 202, {"input": {"n": 1}, "idempotencyKey": "k"}
    ),
    ("POST", f"{PIPELINE}/releases/{{release_version}}/recovery/drafts"): Change(
        OPERATE, "campaign.draft", 201, {"part": "failed", "kind": "redrive"}
    ),
    ("POST", "trusted-keys"): Change(
        ADMINISTER, "trusted_key.add", 201, {"name": "next", "publicKey": signing.public_pem("next")}
    ),
    ("POST", "trusted-keys/{key_id}/revoke"): Change(ADMINISTER, "trusted_key.revoke", 200, WHY),
    ("POST", "artifact-uploads"): Change(
        REGISTER, "artifact_upload.begin", 201, {"digest": "sha256:" + "0" * 64, "size": 1}
    ),
    ("POST", "artifact-uploads/{upload_id}/complete"): Change(REGISTER, "artifact_upload.complete", 202),
    ("PUT", "quotas"): Change(ADMINISTER, "quotas.change", 200, {"workers": 5}),
    ("POST", "members"): Change(
        ADMINISTER, "membership.add", 201, {"username": "{username}", "role": "viewer"}, also=AS_VIEWER
    ),
    ("POST", "members/remove"): Change(
        ADMINISTER, "membership.remove", 200, {"username": "{username}", "role": "operator"}
    ),
    ("POST", "invitations"): Change(
        ADMINISTER,
        "invitation.create",
        201,
        {"email": "new@example.com", "roles": ["viewer"], "groups": ["finance"]},
        also=AS_VIEWER,
    ),
    ("POST", "invitations/{invitation_id}/withdraw"): Change(ADMINISTER, "invitation.withdraw", 200),
    ("POST", "invitations/{invitation_id}/send"): Change(ADMINISTER, "invitation.send", 200),
    ("POST", "members/end-sessions"): Change(ADMINISTER, "user.end_sessions", 200, {"username": "{username}"}),
    ("POST", "members/groups"): Change(
        ADMINISTER, "membership.change", 200, {"username": "{username}", "groups": ["finance"]}
    ),
    ("PATCH", "failure-groups/{failure_group_id}"): Change(
        OPERATE, "failure_group.change", 200, {"acknowledged": True, "note": "the bank is down"}
    ),
    ("POST", "campaigns"): Change(OPERATE, "campaign.start", 201, {"filters": FILTERS, **WHY, "ratePerMinute": 1}),
    ("POST", "campaigns/preview"): Change(OPERATE, "campaign.preview", 200, {"filters": FILTERS}),
    ("POST", f"{CAMPAIGN}/start"): Change(
        OPERATE, "campaign.start", 200, {**WHY, "ratePerMinute": 1, "from": "input"}, at=DRAFT
    ),
    ("POST", f"{CAMPAIGN}/discard"): Change(OPERATE, "campaign.discard", 200, WHY, at=DRAFT),
    ("POST", f"{CAMPAIGN}/pause"): Change(OPERATE, "campaign.pause", 200, WHY),
    ("POST", f"{CAMPAIGN}/resume"): Change(OPERATE, "campaign.resume", 200, WHY, after=f"{CAMPAIGN}/pause"),
    ("POST", f"{CAMPAIGN}/cancel"): Change(OPERATE, "campaign.cancel", 200, WHY),
    ("POST", "questions/answer"): Change(
        ANSWER, "interaction.answer", 200, {"correlationId": "{correlationId}", "response": {"n": 1}}
    ),
    ("POST", f"{QUESTION}/claim"): Change(ANSWER, "interaction.claim", 200, {"takeOver": False}),
    ("POST", f"{QUESTION}/release"): Change(ANSWER, "interaction.release", after=f"{QUESTION}/claim"),
    ("POST", f"{QUESTION}/delegate"): Change(ANSWER, "interaction.delegate", 200, {"to": "{username}"}),
    ("POST", f"{QUESTION}/reassign"): Change(
        ADMINISTER, "interaction.reassign", 200, {"assignee": "{username}", **WHY}
    ),
    ("POST", "workers"): Change(OPERATE, "worker.register", 200, REST_WORKER),
    ("POST", f"{WORKER}/heartbeat"): Change(OPERATE, "worker.heartbeat", at={"worker_id": "rest-0"}),
    ("POST", f"{WORKER}/drain"): Change(OPERATE, "worker.drain", 200, WHY),
    ("POST", f"{WORKER}/undrain"): Change(OPERATE, "worker.undrain", 200, WHY, after=f"{WORKER}/drain"),
    ("POST", "schedules"): Change(
        OPERATE, "schedule.add", 201, {"name": "next", **FILTERS, "cron": "0 2 * * *", "input": {"n": 1}}, also=SUBMIT
    ),
    ("PATCH", SCHEDULE): Change(OPERATE, "schedule.change", 200, {"cron": "0 3 * * *"}, also=SUBMIT),
    ("POST", f"{SCHEDULE}/pause"): Change(OPERATE, "schedule.pause", 200, WHY),
    ("POST", f"{SCHEDULE}/resume"): Change(OPERATE, "schedule.resume", 200, WHY, after=f"{SCHEDULE}/pause"),
    ("POST", f"{SCHEDULE}/remove"): Change(OPERATE, "schedule.remove"),
    ("POST", f"{SCHEDULE}/backfill"): Change(OPERATE, "schedule.backfill", 202, BACKFILL, also=SUBMIT),
    ("POST", "alerts/{alert_id}/silence"): Change(OPERATE, "alert.silence", 200, {"until": "2030-01-01T00:00:00Z"}),
    ("POST", "alert-channels"): Change(ACTIVATE, "alert_channel.add", 201, {"name": "next", **ADDRESS}),
    ("PATCH", CHANNEL): Change(ACTIVATE, "alert_channel.change", 200, {"enabled": False}),
    ("POST", f"{CHANNEL}/test"): Change(ACTIVATE, "alert_channel.test", 202),
    ("POST", f"{CHANNEL}/remove"): Change(ACTIVATE, "alert_channel.remove"),
    ("POST", "alert-rules"): Change(
        ACTIVATE, "alert_rule.add", 201, {"name": "next", "kind": "failureRate", "thresholds": {"percent": 30}}
    ),
    ("PATCH", RULE): Change(ACTIVATE, "alert_rule.change", 200, {"enabled": False}),
    ("POST", f"{RULE}/remove"): Change(ACTIVATE, "alert_rule.remove"),
}
CHANGES |= {
    (method, former(path)): replace(change, after=former(change.after))
    for (method, path), change in CHANGES.items()
    if path.startswith("questions/")
}
"""The endpoints that change something, by method and path below the tenant."""
NOT_RECORDED = {"execution.submit", "campaign.preview", "worker.heartbeat"}
"""Acts whose denials only are in the audit log: executions have histories, a preview changes nothing, heartbeats are
repeated every few seconds."""
SCOPES: dict[Endpoint, Scope] = {("GET", path): scope for path, scope in READS.items()} | {
    endpoint: change.scope for endpoint, change in CHANGES.items()
}
RESUME: Endpoint = ("POST", "/api/v1/resume")
"""The only endpoint without a tenant and a token."""
RESUMPTION = {"resumeToken": "a.b", "response": {}}
BODIES: dict[Endpoint, dict[str, Any]] = {
    endpoint: change.body for endpoint, change in CHANGES.items() if change.body
} | {RESUME: RESUMPTION}
"""A well-formed body for each endpoint that accepts JSON."""

NAMES = "pipeline execution smoke_test campaign failure_group worker upload request key schedule alert invitation"
UNKNOWN = {
    **{f"{name}_id": f"{name.upper()}_UNKNOWN" for name in NAMES.split()},
    "release_version": "RELEASE_UNKNOWN",
    "question_id": "INTERACTION_UNKNOWN",
    "gradual_id": "GRADUAL_ACTIVATION_UNKNOWN",
    "digest": "ATTACHMENT_UNKNOWN",
    "artifact_digest": "ARTIFACT_UNKNOWN",
    "descriptor_digest": "DESCRIPTOR_UNKNOWN",
    "channel_id": "ALERT_CHANNEL_UNKNOWN",
    "rule_id": "ALERT_RULE_UNKNOWN",
}
"""The code of the error if the object that a parameter of the path names does not exist."""


def unknown_code(path: str, name: str) -> str:
    return "WORKER_UNKNOWN" if path.startswith("workers/") else UNKNOWN[name]


def named() -> list[tuple[str, str, str]]:
    """Return method, path and parameter of each name in a path. An upload creates the pipeline that it names."""
    return [
        (method, path, name)
        for method, path in SCOPES
        for name in UNKNOWN
        if f"{{{name}}}" in path and (method, path) != ("POST", f"{PIPELINE}/releases")
    ]
