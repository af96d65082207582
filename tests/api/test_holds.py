"""REST of pauses: executions, releases and pipelines, and the list of what is paused."""

import uuid
from typing import Any

import pytest

from executions.holds import holds
from executions.models import Execution, Hold
from releases.models import Release
from tenancy.models import Tenant
from tenancy.roles import Scope
from tests import making
from tests.api.caller import Caller
from tests.cases import cases
from tests.raw_sql import rows

pytestmark = pytest.mark.django_db
PIPELINE = f"pipelines/{making.PIPELINE}"
REASON = {"reason": "broken"}


@pytest.fixture
def caller(owner: Tenant) -> Caller:
    return Caller(owner, Scope.READ, Scope.SUBMIT, Scope.OPERATE, Scope.ACTIVATE)


def everything() -> list[Any]:
    return [rows(table) for table in (Execution, Hold)]


def paused(hold: dict[str, Any]) -> dict[str, Any]:
    return {name: hold[name] for name in ("since", "by", "reason")}


def test_an_execution_is_paused_and_resumed(caller: Caller, owner: Tenant) -> None:
    made = making.execution(owner)
    path = f"executions/{made.pk}"
    hold = caller.post(f"{path}/pause", REASON, 201)
    assert hold == {
        "pipelineId": making.PIPELINE,
        "releaseVersion": "1.0",
        "executionId": str(made.pk),
        "since": Hold.objects.get().started_at.isoformat().replace("+00:00", "Z"),
        "by": hold["by"],
        "reason": "broken",
        "refusesSubmissions": False,
        **dict.fromkeys(("resumedAt", "resumedBy", "resumeReason")),
    }
    assert caller.post(f"{path}/pause", {"reason": "again"}) == hold
    assert caller.get(path)["paused"] == caller.get("executions")["items"][0]["paused"] == paused(hold)
    ended = caller.post(f"{path}/resume")
    assert ended["resumedAt"] > ended["since"]
    assert (ended["resumedBy"], ended["resumeReason"]) == (hold["by"], "")
    assert caller.get(path)["paused"] is caller.get("executions")["items"][0]["paused"] is None
    assert caller.post(f"{path}/resume", REASON, 409)["code"] == "NOT_PAUSED"


@cases("version", [None, "1.0"])
def test_a_pipeline_or_a_release_is_paused_and_resumed(caller: Caller, version: str | None) -> None:
    named = {} if version is None else {"releaseVersion": version}
    hold = caller.post(f"{PIPELINE}/pause", {**REASON, **named}, 201)
    assert (hold["releaseVersion"], hold["executionId"], hold["refusesSubmissions"]) == (version, None, False)
    assert caller.post(f"{PIPELINE}/pause", {**REASON, **named}) == hold
    views = (PIPELINE, f"{PIPELINE}/releases/1.0")
    expected = [paused(hold), None] if version is None else [None, paused(hold)]
    assert [caller.get(view)["paused"] for view in views] == expected
    lists = ("pipelines", f"{PIPELINE}/releases")
    assert [caller.get(view)["items"][0]["paused"] for view in lists] == expected
    assert caller.post(f"{PIPELINE}/resume", named)["resumedAt"] is not None
    assert [caller.get(view)["paused"] for view in views] == [None, None]
    assert caller.post(f"{PIPELINE}/resume", named, 409)["code"] == "NOT_PAUSED"


def test_a_paused_pipeline_refuses_submissions(caller: Caller) -> None:
    hold = caller.post(f"{PIPELINE}/pause", {**REASON, "refuseSubmissions": True}, 201)
    assert hold["refusesSubmissions"] is True
    submission = {"pipelineId": making.PIPELINE, "input": {"n": 1}, "idempotencyKey": "k"}
    refused = caller.post("executions", submission, 409)
    assert (refused["code"], refused["reason"]) == ("PIPELINE_PAUSED", "broken")
    assert refused["since"] == Hold.objects.get().started_at.isoformat()
    caller.post(f"{PIPELINE}/resume")
    assert caller.post("executions", submission, 202)["paused"] is None


def test_a_repeated_submission_shows_the_pause_of_its_execution(caller: Caller, owner: Tenant) -> None:
    submission = {"pipelineId": making.PIPELINE, "input": {"n": 1}, "idempotencyKey": "k"}
    made = caller.post("executions", submission, 202)["executionId"]
    hold = caller.post(f"executions/{made}/pause", REASON, 201)
    assert caller.post("executions", submission)["paused"] == paused(hold)


def test_the_list_has_the_open_holds_newest_first(caller: Caller, ready: tuple[Tenant, Release]) -> None:
    owner, release = ready
    made = making.execution(owner)
    for target in (made, release, release.pipeline):
        holds.pause(target, actor="user:eva", reason="broken")
    listed = caller.get("holds")["items"]
    assert [(each["executionId"], each["releaseVersion"]) for each in listed] == [
        (None, None),
        (None, "1.0"),
        (str(made.pk), "1.0"),
    ]
    caller.post(f"{PIPELINE}/resume")
    assert caller.get("holds")["items"] == listed[1:]


def test_a_terminal_execution_is_not_paused(caller: Caller, owner: Tenant) -> None:
    [dead] = making.dead(owner, "dead")
    refused = caller.post(f"executions/{dead.pk}/pause", REASON, 409)
    assert (refused["code"], refused["executionStatus"]) == ("PAUSE_REFUSED", "DLQ")


@cases("path", [f"executions/{uuid.UUID(int=1)}", "pipelines/other"])
@cases("act", ["pause", "resume"])
def test_an_unknown_target(path: str, act: str, caller: Caller) -> None:
    code = "PIPELINE_UNKNOWN" if path.startswith("pipelines") else "EXECUTION_UNKNOWN"
    assert caller.post(f"{path}/{act}", REASON, 404)["code"] == code
    named = {**REASON, "releaseVersion": "9"}
    assert caller.post(f"{PIPELINE}/{act}", named, 404)["code"] == "RELEASE_UNKNOWN"


def test_the_objects_of_another_tenant_are_unknown(caller: Caller) -> None:
    rival, release = making.ready(making.tenant("rival"))
    made = making.execution(rival)
    holds.pause(made, actor="user:eva", reason="broken")
    holds.pause(release, actor="user:eva", reason="broken")
    before = everything()
    for act in ("pause", "resume"):
        assert caller.post(f"executions/{made.pk}/{act}", REASON, 404)["code"] == "EXECUTION_UNKNOWN"
    assert caller.get("holds")["items"] == []
    assert caller.post(f"{PIPELINE}/resume", {"releaseVersion": "1.0"}, 409)["code"] == "NOT_PAUSED"
    assert everything() == before


@cases(
    "body",
    [
        {},
        {"reason": " \n"},
        {"reason": "x" * 1001},
        {**REASON, "more": 1},
    ],
)
def test_an_invalid_pause_changes_nothing(body: dict[str, Any], caller: Caller, owner: Tenant) -> None:
    made = making.execution(owner)
    before = everything()
    for path in (f"executions/{made.pk}/pause", f"{PIPELINE}/pause"):
        assert caller.post(path, body, 400)["code"] == "INVALID_REQUEST"
    assert everything() == before
