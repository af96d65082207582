import base64
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from executions.lifecycle.queries import provenance_statement
from governance.activation.activation import activate, roll_back
from governance.retirement.retirement import revoke
from pipelines.cli import main
from releases import pointer, policy
from releases.models import Activation, Pipeline, Release, Vote
from releases.queries import pipeline
from tenancy.access import issue_token
from tenancy.models import ApiToken, AuditEntry, Membership
from tenancy.roles import GRANTS, Role, Scope
from tests import making, signing
from tests.api.tenant_api import TenantApi, fields, file, refused, unchanged, upload
from tests.raw_sql import run, unguarded
from tests.requesting import person
from wire.documents import activation_statement, active_statement
from wire.documents.execution_statement import ENVELOPE_MEDIA_TYPE, PAYLOAD_TYPE

ACTIVE = "pipelines/{pipeline_id}/active"
EXPORT = "pipelines/{pipeline_id}/history/export"
INSTANT = timedelta(microseconds=1)


def read(ours: TenantApi) -> Pipeline:
    return pipeline(ours.tenant, making.PIPELINE)


@pytest.fixture
def times(ours: TenantApi) -> list[datetime]:
    """The times of 1.0, 2.0 and a rollback to 1.0, an hour ago."""
    activate(making.registered(ours.tenant, "2.0"), actor="user:ann", reason="faster")
    roll_back(read(ours), actor="user:eva", reason="it fails", recent_only=True)
    with unguarded(Activation):
        run("UPDATE releases_activation SET activated_at = activated_at - interval '1 hour'")
    return list(read(ours).activations.order_by("sequence").values_list("activated_at", flat=True))


def at(moment: datetime) -> str:
    return f"{ACTIVE}?at={moment.isoformat().replace('+00:00', 'Z')}"


def test_at_each_time_the_newest_activation_that_is_not_later_counts(ours: TenantApi, times: list[datetime]) -> None:
    for moment, sequence, version in [
        (times[0], 1, "1.0"),
        (times[1] - INSTANT, 1, "1.0"),
        (times[1], 2, "2.0"),
        (times[2] - INSTANT, 2, "2.0"),
        (times[2], 3, "1.0"),
    ]:
        answer = ours.get(at(moment)).json()
        assert (answer["activation"]["sequence"], answer["activation"]["releaseVersion"]) == (sequence, version)
        assert datetime.fromisoformat(answer["at"]) == moment
        replaced = answer["replacedAt"] and datetime.fromisoformat(answer["replacedAt"])
        assert replaced == (times[sequence] if sequence < 3 else None)
    newest = ours.get(ACTIVE).json()["activation"]
    assert (newest["kind"], newest["actor"], newest["reason"]) == ("rollback", "user:eva", "it fails")
    refused(ours.get(at(times[0] - INSTANT)), 404, "NONE_ACTIVE_THEN")
    with_offset = times[1].replace(tzinfo=None) + timedelta(hours=2)
    answer = ours.get(f"{ACTIVE}?at={with_offset.isoformat()}%2B02:00").json()
    assert answer["activation"]["sequence"] == 2
    event = revoke(Release.objects.get(pk=ours.release.pk), actor="user:ann", reason="wrong")
    assert datetime.fromisoformat(ours.get(ACTIVE).json()["revokedAt"]) == event.revoked_at
    assert ours.get(at(times[2])).json()["revokedAt"] is None
    with unguarded(Activation):
        run("UPDATE releases_activation SET activated_at = %s WHERE sequence = 2", times[0])
    assert ours.get(at(times[0])).json()["activation"]["sequence"] == 2, "the last one of those at one time"


def test_the_signed_export_is_whole(ours: TenantApi, times: list[datetime]) -> None:
    response = ours.get(EXPORT)
    assert response.headers["Content-Type"] == ENVELOPE_MEDIA_TYPE
    assert response.content == ours.get(EXPORT).content
    assert response.json()["payloadType"] == PAYLOAD_TYPE
    payload = base64.b64decode(response.json()["payload"])
    assert json.loads(payload) == pointer.history_statement(read(ours))
    statement = activation_statement.read(payload)
    predicate = statement.predicate
    assert statement.contradictions() == []
    assert (predicate.tenant, predicate.pipeline_id) == (ours.tenant.slug, making.PIPELINE)
    assert [(activation.sequence, activation.kind, activation.reason) for activation in predicate.activations[1:]] == [
        (2, "activation", "faster"),
        (3, "rollback", "it fails"),
    ]
    revoke(Release.objects.get(pk=ours.release.pk), actor="user:eva", reason="leaks")
    [revoked, _] = activation_statement.read(base64.b64decode(ours.get(EXPORT).json()["payload"])).predicate.releases
    assert revoked.revocation is not None
    assert (revoked.revocation.actor, revoked.revocation.reason) == ("user:eva", "leaks")
    shortened = activation_statement.read(json.dumps(pointer.history_statement(read(ours), most=2)).encode())
    assert shortened.contradictions() == []
    assert [activation.sequence for activation in shortened.predicate.activations] == [2, 3]
    assert shortened.predicate.omitted_activations == 1


def test_all_pipelines_at_a_time_are_one_answer_and_one_signed_document(
    ours: TenantApi, times: list[datetime], settings: Any
) -> None:
    making.active(ours.tenant, "7.0", pipeline_id="org.example.later")
    revoke(Release.objects.get(release_version="2.0"), actor="user:eva", reason="leaks")

    def versions(path: str) -> dict[str, str]:
        answer = ours.get(path).json()
        return {pipeline["pipelineId"]: pipeline["activation"]["releaseVersion"] for pipeline in answer["pipelines"]}

    assert versions("active") == {making.PIPELINE: "1.0", "org.example.later": "7.0"}
    assert versions("active?at=30 minutes ago") == {making.PIPELINE: "1.0"}
    assert versions("active?at=yesterday 9") == {}
    second = at(times[1]).partition("?")[2]
    assert versions(f"active?{second}") == {making.PIPELINE: "2.0"}
    assert set(fields(refused(ours.get("active?at=soonish"), 400, "INVALID_REQUEST"))) == {"at"}
    refused(ours.get("active?at=2999-01-01"), 422, "TIME_IN_FUTURE")
    refused(ours.get("active/export?at=yesterday"), 404, "NONE_ACTIVE_THEN")
    document = ours.get(f"active/export?{second}")
    assert document.content == ours.get(f"active/export?{second}").content
    statement = active_statement.read(base64.b64decode(document.json()["payload"]))
    [shown] = statement.predicate.pipelines
    assert statement.contradictions() == []
    assert (shown.release.release_version, shown.release.revocation) == ("2.0", None), "it was revoked later"
    assert (shown.activation.actor, shown.activation.reason) == ("user:ann", "faster")
    for changes in ({"at": "2001-01-01T00:00:00.000000Z"}, {"pipelines": (shown, shown)}):
        changed = statement.predicate.model_copy(update=changes)
        assert statement.model_copy(update={"predicate": changed}).contradictions()
    settings.PROVENANCE_KEY = ""
    refused(ours.get("active/export"), 409, "PROVENANCE_KEY_MISSING")


PIPELINE = "pipelines/{pipeline_id}"
PATH, ACTIVATIONS = f"{PIPELINE}/activation-requests", f"{PIPELINE}/activations"
ROLLBACK = f"{PIPELINE}/rollback"
BODY = {"releaseVersion": "2.0", "reason": "faster"}
YES = {"decision": "approve", "round": 1}
PLAN = {
    "steps": [{"share": 5.0, "minimumSample": 20, "minimumMinutes": 0}],
    "groups": {"tags": ["canary"], "tokens": []},
    "bounds": {"failurePercentagePoints": 1.0, "durationFactor": 2.0, "significance": 0.01},
}


@pytest.fixture
def newer(ours: TenantApi) -> Release:
    release = making.registered(ours.tenant, "2.0")
    policy.change(release.pipeline, {"approvals": 2}, actor="user:eva")
    return release


def token_of(ours: TenantApi, user: User | None = None, name: str = "") -> str:
    """Return a token of a new release manager, or of `user`."""
    user = user or person(ours.tenant)
    _, plain = issue_token(
        ours.tenant, user, name or f"of-{user.username}", GRANTS[Role.RELEASE_MANAGER], lifetime=None
    )
    return plain


def test_a_quorum_of_other_people_activates_the_release_and_is_named_for_good(
    ours: TenantApi, newer: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(ours.post(ACTIVATIONS, {"releaseVersion": "2.0"}), 409, "APPROVAL_REQUIRED")
    made = ours.post(PATH, BODY).json()
    assert (made["status"], made["round"], made["approvalsNeeded"], made["gradual"]) == ("OPEN", 1, 2, None)
    assert (made["activeReleaseVersion"], made["actor"], made["policy"]["approvals"]) == ("1.0", "token:client-0", 2)
    votes = f"{PATH}/{made['requestId']}/votes"
    refused(ours.post(votes, YES), 403, "OWN_REQUEST")
    assert AuditEntry.objects.filter(act="activation_request.vote", outcome="denied").count() == 1
    refused(ours.post(votes, YES, token=ours.token(Scope.ACTIVATE, Scope.READ)), 403, "OWN_REQUEST")
    voter = person(ours.tenant)
    for name in ("first", "second"):  # two tokens of one person are one voter
        answer = ours.post(votes, {**YES, "comment": "fine"}, token=token_of(ours, voter, name))
        assert (answer.status_code, answer.json()["status"]) == (200, "OPEN")
        reviewed = ours.get(f"{PATH}/{made['requestId']}/review").json()
        assert (reviewed["approvalsMissing"], reviewed["decides"], reviewed["preflight"]["allowed"]) == (1, True, True)
    done = ours.post(votes, YES, token=token_of(ours)).json()
    assert (done["status"], done["activationSequence"]) == ("ACTIVATED", 2)
    assert (done["votes"][0]["actor"], done["votes"][0]["comment"]) == ("token:first", "fine")
    assert ours.get(f"{PATH}/{made['requestId']}").json() == done
    refused(ours.get(f"{PATH}/{made['requestId']}/review"), 409, "REQUEST_NOT_OPEN")
    [newest, *_] = ours.get(ACTIVATIONS).json()["items"]
    assert (newest["request"]["requestId"], newest["request"]["votes"]) == (made["requestId"], done["votes"])
    assert (newest["releaseVersion"], newest["actor"], newest["override"]) == ("2.0", "token:client-0", False)
    assert ours.get(f"{PIPELINE}/active").json()["activation"] == newest
    making.worker(newer, "new")
    caller = {"actor": "token:client-0", "person": ours.admin.username}
    predicate = provenance_statement(making.submitted(ours.tenant, "key", actor=caller["actor"]).execution)["predicate"]
    evidence = predicate["activation"]
    assert predicate["submittedBy"] == caller
    assert (evidence["sequence"], evidence["actor"], evidence["person"]) == (2, "token:client-0", ours.admin.username)
    assert (evidence["request"]["requestId"], evidence["request"]["person"]) == (made["requestId"], evidence["person"])
    approvals = [(vote["actor"], vote["person"]) for vote in evidence["request"]["approvals"]]
    assert approvals[0] == ("token:first", voter.username)
    assert len({person for _, person in approvals}) == 2
    Membership.objects.filter(user=voter).delete()
    ApiToken.objects.filter(user=voter).delete()
    token_of(ours, name="first")  # another person has a token of this name now
    [shown] = ours.get("active").json()["pipelines"]
    revoke(newer, actor="token:client-0", reason="leaks")
    history = pointer.history_statement(read(ours))["predicate"]
    first, second = history["activations"]
    assert ("person" in first, second["person"]) == (False, caller["person"])
    assert [(vote["actor"], vote["person"]) for vote in second["request"]["votes"]] == approvals
    assert history["releases"][-1]["revocation"]["person"] == caller["person"]
    people = shown["people"]
    assert people["activatedBy"] == people["requestedBy"] == caller
    assert [(vote["actor"], vote["person"]) for vote in people["approvedBy"]] == approvals
    key, document = tmp_path / "key.pem", tmp_path / "active.json"
    key.write_text(signing.public_pem("coordinator"))
    signed = ours.get("active/export").content
    payload = base64.b64decode(json.loads(signed)["payload"])
    altered = base64.b64encode(payload.replace(b"2.0", b"2.1")).decode()
    for content, status in ((signed, 0), (json.dumps({**json.loads(signed), "payload": altered}).encode(), 1)):
        document.write_bytes(content)
        assert main(["verify-provenance", str(document), "--key", str(key)]) == status
        assert (f"approved by {approvals[0][0]} ({approvals[0][1]})" in capsys.readouterr().out) is not bool(status)


def test_a_wrong_plan_changes_nothing(ours: TenantApi, newer: Release) -> None:
    twice = {**BODY, "gradual": {"steps": [*PLAN["steps"], *PLAN["steps"]]}}
    with unchanged():
        problem = refused(ours.post(PATH, twice), 422, "GRADUAL_ACTIVATION_INVALID")
    assert set(fields(problem)) == {"gradual.steps"}


def test_an_override_is_an_administrators_if_the_policy_allows_it(ours: TenantApi, newer: Release) -> None:
    emergency = {"releaseVersion": "2.0", "reason": "outage", "override": True}
    manager = token_of(ours)
    policy.change(newer.pipeline, {"emergencyOverride": True}, actor="user:eva")
    refused(ours.post(ACTIVATIONS, emergency, token=manager), 403, "SCOPE_MISSING")
    entry = AuditEntry.objects.latest("id")
    assert (entry.act, entry.outcome, entry.tenant) == ("release.activate", "denied", ours.tenant)
    assert Activation.objects.count() == 1
    made = ours.post(ACTIVATIONS, emergency).json()
    assert (made["override"], made["request"], made["reason"]) == (True, None, "outage")
    assert not Vote.objects.exists()


def test_a_token_that_may_only_roll_back_reaches_the_releases_of_the_last_days(ours: TenantApi) -> None:
    making.worker(making.active(ours.tenant, "2.0"), "worker-2")
    on_call, body = ours.token(Scope.ROLL_BACK), {"reason": "it fails"}
    with unguarded(Activation):
        run("UPDATE releases_activation SET activated_at = activated_at - interval '31 days'")
    with unchanged():
        problem = refused(ours.post(ROLLBACK, body, token=on_call), 403, "ROLLBACK_TOO_FAR")
    assert problem["rollBackDays"] == 30
    assert ours.post(ROLLBACK, body).status_code == 201
    assert ours.post(ROLLBACK, {**body, "releaseVersion": "2.0"}, token=on_call).status_code == 201


RELEASES = f"{PIPELINE}/releases"
ATTACHMENTS = f"{PIPELINE}/attachments"


def files(*contents: bytes) -> list[Any]:
    return [file(content, "attached.json") for content in contents]


def test_attachments_are_uploaded_listed_and_downloaded_unchanged(ours: TenantApi) -> None:
    form = upload()
    document = json.loads(form["descriptor"].read())
    form["descriptor"].seek(0)
    digest = document["artifacts"][0]["digest"]
    evidence = (signing.statement(digest), signing.spdx(digest=digest))
    sent = [signing.envelope(document), *(json.dumps(statement).encode() for statement in evidence)]
    made = ours.post(RELEASES, {**form, "attachment": files(*sent, sent[0])})
    assert made.status_code == 202, made.content
    shown = made.json()["attachments"]
    assert [attachment["kind"] for attachment in shown] == ["signature", "provenance", "sbom"]
    assert shown[1]["summary"]["builder"] == "https://ci.example/builder"
    assert (shown[2]["summary"]["format"], shown[2]["summary"]["components"]) == ("SPDX 2.3", 2)
    for content, attachment in zip(sent, shown, strict=True):
        got = ours.get(f"{ATTACHMENTS}/{attachment['digest']}")
        assert (got.status_code, got.content) == (200, content)
        assert got.headers["Content-Type"] == "application/json"
        assert got.headers["Content-Disposition"].startswith("attachment;")
        assert got.headers["X-Content-Type-Options"] == "nosniff"
