"""Every request of the API that changes something leaves one entry in the audit log, granted or denied."""

from typing import Any

import pytest
import requests
from django.db import transaction

from executions.campaigns import drafts
from executions.models import Campaign, Execution, Worker
from releases.activation.activation import activate
from releases.models import Pipeline
from tenancy.audit import recording
from tenancy.audit.acts import NAMES
from tenancy.models import AuditEntry
from tenancy.roles import Scope
from tests import making, signing
from tests.api.populated import populate
from tests.api.tenant_api import ELSEWHERE, ENDPOINTS, TenantApi, everything, file, upload
from tests.api.test_every_endpoint import BODIES
from tests.requesting import open_request, soon
from tests.s3 import S3Place, use_s3

pytestmark = pytest.mark.django_db
CHANGING = [(method, path) for method, path in ENDPOINTS | ELSEWHERE if method != "GET"]
NOT_RECORDED = {
    "executions": "each execution has its own history, which begins with the submission",
    "executions:batch": "the same",
    "campaigns/preview": "it changes nothing",
    "workers/{pipeline_id}/{worker_id}/heartbeat": "a worker repeats it every few seconds",
}
"""Requests that are recorded only if they are denied."""
ELSEWHERE_GRANTED = {"artifact-uploads", "artifact-uploads/{upload_id}/complete", "quotas"}
"""Requests that need an object store: see the test below. Quotas need a superuser: see `test_quotas`."""
RELEASES = "pipelines/{pipeline_id}/releases"
GRADUAL = "pipelines/{pipeline_id}/gradual-activations/{gradual_id}"
WHY = {"reason": "because"}


def entries() -> list[AuditEntry]:
    return list(AuditEntry.objects.order_by("id"))


def granted(names: dict[str, list[str]]) -> dict[str, tuple[str, dict[str, str], Any]]:
    """Return the act, the names in the path and the body of each request that is granted."""
    dead, live = {"execution_id": names["execution_id"][-1]}, {"execution_id": names["execution_id"][1]}
    return {
        RELEASES: ("release.upload", {}, upload()),
        "pipelines/{pipeline_id}": ("policy.change", {}, {"reasonRequired": True}),
        "pipelines/{pipeline_id}/activations": ("release.activate", {}, {"releaseVersion": "1.0", **WHY}),
        "pipelines/{pipeline_id}/activation-requests": (
            "activation_request.create",
            {},
            {"releaseVersion": "1.0", "activateAt": soon().isoformat(), **WHY},
        ),
        "pipelines/{pipeline_id}/activation-requests/{request_id}/withdrawal": ("activation_request.withdraw", {}, WHY),
        f"{GRADUAL}/step": ("gradual_activation.step", {}, WHY),
        f"{GRADUAL}/promotion": ("gradual_activation.promote", {}, WHY),
        f"{GRADUAL}/withdrawal": ("gradual_activation.withdraw", {}, WHY),
        "pipelines/{pipeline_id}/revocations": ("release.revoke", {}, {"releaseVersion": "1.0", **WHY}),
        "trusted-keys": ("trusted_key.add", {}, {"name": "next", "publicKey": signing.public_pem("next")}),
        "trusted-keys/{key_id}/revoke": ("trusted_key.revoke", {}, WHY),
        "pipelines/{pipeline_id}/pause": ("pipeline.pause", {}, WHY),
        "pipelines/{pipeline_id}/releases/{release_version}/smoke": (
            "release.smoke_test",
            {},
            {"input": {"n": 1}, "idempotencyKey": "k"},
        ),
        "executions/{execution_id}/resubmit": ("execution.resubmit", dead, {**WHY, "operationKey": "k"}),
        "executions/{execution_id}/redrive": ("execution.redrive", dead, WHY),
        "executions/{execution_id}/pause": ("execution.pause", live, WHY),
        "executions/{execution_id}/cancel": ("execution.cancel", live, WHY),
        "failure-groups/{failure_group_id}": ("failure_group.change", {}, {"acknowledged": True}),
        "campaigns": ("campaign.start", {}, BODIES["POST", "campaigns"]),
        "campaigns/{campaign_id}/start": ("campaign.start", {"campaign_id": names["draft_id"][0]}, WHY),
        "campaigns/{campaign_id}/discard": ("campaign.discard", {"campaign_id": names["draft_id"][0]}, WHY),
        "campaigns/{campaign_id}/pause": ("campaign.pause", {}, WHY),
        "campaigns/{campaign_id}/cancel": ("campaign.cancel", {}, WHY),
        "interactions/complete": (
            "interaction.answer",
            {},
            {"correlationId": names["correlationId"][0], "response": {"secret": "payload"}},
        ),
        "interactions/{interaction_id}/claim": ("interaction.claim", {}, {}),
        "workers/{pipeline_id}/{worker_id}/drain": ("worker.drain", {}, WHY),
        "members": ("membership.add", {}, {"username": names["username"][0], "role": "viewer"}),
        "members/remove": ("membership.remove", {}, {"username": names["username"][0], "role": "operator"}),
        "workers": ("worker.register", {}, BODIES["POST", "workers"]),
        "alerts/{alert_id}/silence": ("alert.silence", {}, BODIES["POST", "alerts/{alert_id}/silence"]),
        "alert-channels": ("alert_channel.add", {}, BODIES["POST", "alert-channels"]),
        "alert-channels/{channel_id}": ("alert_channel.change", {}, {"enabled": False}),
        "alert-channels/{channel_id}/remove": ("alert_channel.remove", {}, {}),
        "alert-channels/{channel_id}/test": ("alert_channel.test", {}, {}),
        "alert-rules": ("alert_rule.add", {}, BODIES["POST", "alert-rules"]),
        "alert-rules/{rule_id}": ("alert_rule.change", {}, {"enabled": False}),
        "alert-rules/{rule_id}/remove": ("alert_rule.remove", {}, {}),
    }


def test_a_granted_request_leaves_one_entry(ours: TenantApi, settings: Any, subtests: pytest.Subtests) -> None:
    settings.REST_WORKER_ORIGINS = ["http://worker.example"]
    names = populate(ours)
    draft = drafts.freeze(ours.tenant, Campaign.Kind.REDRIVE, Execution.objects.all(), actor="user:eva")
    names["draft_id"] = [str(draft.pk)]
    token = ours.all_scopes
    first = {name: values[0] for name, values in names.items()}
    later = {
        "pipelines/{pipeline_id}/activation-requests/{request_id}/votes",
        "pipelines/{pipeline_id}/attachments",
        "campaigns/{campaign_id}/resume",
        "executions/{execution_id}/resume",
        "interactions/{interaction_id}/delegate",
        "interactions/{interaction_id}/release",
        "pipelines/{pipeline_id}/resume",
        "pipelines/{pipeline_id}/retirements",
        "pipelines/{pipeline_id}/rollback",
        "pipelines/{pipeline_id}/gradual-activations",
        "workers/{pipeline_id}/{worker_id}/undrain",
    }
    requests = granted(names)
    assert {path for _, path in CHANGING} == {*requests, *NOT_RECORDED, *ELSEWHERE_GRANTED, *later}
    methods = {path: method for method, path in CHANGING}
    for path, (act, more, body) in requests.items():
        with subtests.test(path), transaction.atomic():
            before = len(entries())
            url = ours.url("") + path.format(**{**first, **more})
            response = ours.call(methods[path], url, body, token=token, headers={"X-Request-ID": "request-1"})
            assert response.status_code < 300, response.content
            [entry] = entries()[before:]
            assert (entry.act, entry.outcome, entry.tenant) == (act, "granted", ours.tenant)
            assert (entry.request_id, entry.address) == ("request-1", "127.0.0.1")
            assert entry.actor.startswith("token:client-")
            assert isinstance(body, dict)
            assert entry.reason == (body.get("reason") or "")
            assert "payload" not in entry.details
            transaction.set_rollback(True)


def test_the_reverse_of_an_act_leaves_one_entry(ours: TenantApi) -> None:
    names, token = {name: values[0] for name, values in populate(ours).items()}, ours.all_scopes
    for path, act in {
        "campaigns/{campaign_id}/pause": "campaign.pause",
        "campaigns/{campaign_id}/resume": "campaign.resume",
        "workers/{pipeline_id}/{worker_id}/drain": "worker.drain",
        "workers/{pipeline_id}/{worker_id}/undrain": "worker.undrain",
    }.items():
        before = len(entries())
        for _ in range(2):  # a repeated request changes nothing
            response = ours.call("POST", ours.url("") + path.format(**names), WHY, token=token)
            assert response.status_code == 200, response.content
        assert [entry.act for entry in entries()[before:]] == [act]


def test_a_resumption_leaves_one_entry(ours: TenantApi) -> None:
    names, token = populate(ours), ours.all_scopes
    execution = f"executions/{names['execution_id'][1]}"
    pipeline = f"pipelines/{names['pipeline_id'][0]}"
    for path, body, kind in (
        (execution, WHY, "execution"),
        (pipeline, WHY, "pipeline"),
        (pipeline, {**WHY, "releaseVersion": "1.0"}, "release"),
    ):
        before = len(entries())
        assert ours.call("POST", ours.url("") + f"{path}/pause", body, token=token).status_code == 201
        assert ours.call("POST", ours.url("") + f"{path}/resume", body, token=token).status_code == 200
        assert [entry.act for entry in entries()[before:]] == [f"{kind}.pause", f"{kind}.resume"]


def test_the_acts_on_claims_leave_one_entry_each(ours: TenantApi) -> None:
    path, token = f"interactions/{populate(ours)['interaction_id'][0]}", ours.all_scopes
    before = len(entries())
    for act, body in (("claim", {}), ("release", None), ("delegate", {"to": ours.admin.username})):
        response = ours.call("POST", ours.url("") + f"{path}/{act}", body, token=token)
        assert response.status_code == 200, response.content
    assert [entry.act for entry in entries()[before:]] == [
        "interaction.claim",
        "interaction.release",
        "interaction.delegate",
    ]


def test_a_rollback_and_a_retirement_leave_one_entry_each(ours: TenantApi) -> None:
    token, first = ours.all_scopes, ours.release
    newer = making.registered(ours.tenant, "2.0")
    activate(newer, actor="user:eva")
    path = ours.url("") + f"pipelines/{first.pipeline.pipeline_id}"
    before = len(entries())
    assert ours.call("POST", f"{path}/rollback", WHY, token=token).status_code == 201
    retired = {**WHY, "releaseVersion": "2.0"}
    assert ours.call("POST", f"{path}/retirements", retired, token=token).status_code == 201
    rolled_back, retirement = entries()[before:]
    assert (rolled_back.act, retirement.act) == ("release.activate", "release.retire")
    assert '"kind":"rollback"' in rolled_back.details


def test_a_vote_leaves_one_entry(ours: TenantApi) -> None:
    release = making.registered(ours.tenant, "2.0")
    Pipeline.objects.filter(pk=release.pipeline_id).update(approvals=2)
    path = f"pipelines/{{pipeline_id}}/activation-requests/{open_request(release).pk}/votes"
    body, token = {"decision": "approve", "round": 1, "comment": "fine"}, ours.all_scopes
    before = len(entries())
    for _ in range(2):  # a repeated vote changes nothing
        assert ours.post(path, body, token=token).status_code == 200
    [entry] = entries()[before:]
    assert (entry.act, entry.outcome, entry.reason) == ("activation_request.vote", "granted", "fine")


def test_a_start_of_a_gradual_activation_leaves_one_entry(ours: TenantApi) -> None:
    making.registered(ours.tenant, "2.0")
    token, before = ours.all_scopes, len(entries())
    body = {**WHY, **BODIES["POST", "pipelines/{pipeline_id}/gradual-activations"], "releaseVersion": "2.0"}
    response = ours.call("POST", ours.url("pipelines/{pipeline_id}/gradual-activations"), body, token=token)
    assert response.status_code == 201, response.content
    [entry] = entries()[before:]
    assert (entry.act, entry.outcome, entry.reason) == ("gradual_activation.start", "granted", "because")
    assert '"baseline":"1.0"' in entry.details


def test_a_denied_request_leaves_one_entry_and_changes_nothing_else(ours: TenantApi, subtests: pytest.Subtests) -> None:
    names = {name: values[-1] for name, values in populate(ours).items()}
    token = ours.token(Scope.READ)
    unchanged = everything()
    for method, path in [*CHANGING, ("GET", "artifacts/{artifact_digest}")]:
        with subtests.test(f"{method} {path}"):
            recording.repeats.reset()
            before = len(entries())
            url = ours.url("") + path.format(**names)
            assert ours.call(method, url, BODIES.get((method, path)), token=token).status_code == 403
            [entry] = entries()[before:]
            assert entry.act in NAMES
            assert (entry.outcome, entry.tenant, entry.object) == ("denied", ours.tenant, url)
    assert everything() == unchanged


def test_a_token_of_another_tenant_is_recorded_in_its_own_tenant(ours: TenantApi, theirs: TenantApi) -> None:
    token = theirs.token(*Scope)
    before = len(entries())
    url = ours.url("pipelines/{pipeline_id}/activations")
    assert theirs.call("POST", url, {"releaseVersion": "1.0"}, token=token).status_code == 404
    [entry] = entries()[before:]
    assert (entry.act, entry.outcome, entry.tenant) == ("release.activate", "denied", theirs.tenant)


def test_repeated_denials_are_not_written(ours: TenantApi) -> None:
    token = ours.token(Scope.READ)
    before = len(entries())
    for path in ("executions", "executions:batch", "executions", "executions"):
        assert ours.post(path, BODIES["POST", path], token=token).status_code == 403
    assert [entry.act for entry in entries()[before:]] == ["execution.submit"]


def test_a_download_leaves_one_entry_a_minute(ours: TenantApi) -> None:
    digest, token = ours.release.artifacts.get().digest, ours.all_scopes
    before = len(entries())
    for _ in range(3):
        assert b"".join(ours.get(f"artifacts/{digest}", token=token))
    [entry] = entries()[before:]
    assert (entry.act, entry.object) == ("artifact.download", digest)


def test_an_attachment_leaves_one_entry(ours: TenantApi) -> None:
    token = ours.all_scopes
    url = ours.url("pipelines/{pipeline_id}/attachments")
    before = len(entries())
    for _ in range(2):  # a repeated document is ignored
        form = {
            "releaseVersion": "1.0",
            "attachment": file(signing.envelope(ours.release.descriptor), "signature.json"),
        }
        response = ours.call("POST", url, form, token=token)
        assert response.status_code in (200, 201), response.content
    assert [entry.act for entry in entries()[before:]] == ["release.attach"]


def test_a_direct_upload_leaves_an_entry_when_it_begins_and_when_it_is_complete(
    ours: TenantApi, settings: Any, s3_place: S3Place
) -> None:
    use_s3(settings, s3_place)
    token, data = ours.all_scopes, b"bytes"
    before = len(entries())
    begun = ours.post("artifact-uploads", {"digest": making.digest_of(data), "size": len(data)}, token=token).json()
    [part] = begun["missing"]
    assert requests.put(part["url"], data=data, timeout=20).status_code == 200
    for _ in range(2):  # a repeated request changes nothing
        assert ours.post(f"artifact-uploads/{begun['uploadId']}/complete", None, token=token).status_code == 202
    found = entries()[before:]
    assert [entry.act for entry in found] == ["artifact_upload.begin", "artifact_upload.complete"]
    assert {entry.object for entry in found} == {begun["uploadId"]}


def test_an_activation_that_the_policy_refuses_is_denied(ours: TenantApi) -> None:
    token = ours.all_scopes
    path = ours.url("pipelines/{pipeline_id}")
    making.silence(*Worker.objects.all())
    cases: tuple[tuple[dict[str, Any], dict[str, Any], str], ...] = (
        ({"reasonRequired": True, "signaturePolicy": "require"}, {}, "REASON_REQUIRED"),
        ({}, WHY, "SIGNATURE_REQUIRED"),
        ({"signaturePolicy": "off", "workerGate": "require"}, WHY, "WORKER_REQUIRED"),
    )
    for policy, body, code in cases:
        assert ours.call("PATCH", path, policy, token=token).status_code == 200
        recording.repeats.reset()
        before = len(entries())
        response = ours.call("POST", f"{path}/activations", {"releaseVersion": "1.0", **body}, token=token)
        assert response.json()["code"] == code
        [entry] = entries()[before:]
        assert (entry.act, entry.outcome, entry.object) == ("release.activate", "denied", f"{making.PIPELINE}/1.0")
        assert entry.reason == response.json()["detail"]
