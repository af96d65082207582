from typing import Any

import pytest
from rest_framework.test import APIClient

from executions.models import Interaction
from releases.models import Release
from tenancy.models import Tenant
from tenancy.roles import Scope
from tests import making
from tests.api.tenant_api import Caller
from tests.cases import cases
from tests.executions.awaits.test_answers import token_of
from tests.raw_sql import rows

Ready = tuple[Tenant, Release]
ANSWER = "questions/answer"
RESPONSE = {"n": 5}


@pytest.fixture(scope="module")
def question(ready: Ready) -> Interaction:
    owner, _ = ready
    execution = making.execution(owner, "key")
    [claim] = making.claimed(owner)
    making.record(making.suspension(claim, timeout_seconds=86_400.0))
    return Interaction.objects.get(execution=execution)


@cases("name", ["questionId", "interactionId", "correlationId", "resumeToken"])
def test_a_question_is_answered_by_each_identifier(question: Interaction, owner: Tenant, name: str) -> None:
    eva = Caller(owner, Scope.READ, Scope.ANSWER)
    is_former = name == "interactionId"
    ids = dict.fromkeys(["questionId", "interactionId"] if is_former else ["questionId"], str(question.pk))
    path = "interactions/complete" if is_former else ANSWER
    body = {**ids, "correlationId": question.correlation_id, "resumeToken": token_of(question)}
    done = eva.post(path, {name: body[name], "response": RESPONSE})
    assert done.pop("completedAt")
    assert done == {
        **{**ids, "executionId": str(question.execution_id), "stepId": "Approve", "stepName": "Validate"},
        **{"status": "COMPLETED", "response": RESPONSE, "actor": f"token:{eva.token}", "duplicate": False},
    }
    assert eva.get(f"executions/{question.execution_id}")["status"] == "QUEUED"
    assert eva.get(f"questions/{question.pk}")["mayAnswer"]
    again = eva.post(path, {**body, "response": None})
    assert (again["duplicate"], again["response"]) == (True, RESPONSE)


def resume(body: Any, status: int = 200) -> Any:
    response = APIClient().post("/api/v1/resume", body, format="json")
    assert response.status_code == status, response.content
    return response.json()


def test_a_resume_token_needs_no_bearer_token(question: Interaction) -> None:
    done = resume({"resumeToken": token_of(question), "response": RESPONSE, "actor": "erp"})
    assert (done["questionId"], done["duplicate"], done["actor"]) == (str(question.pk), False, "resume-token:erp")
    again = resume({"resumeToken": token_of(question), "response": 0})
    assert (again["duplicate"], again["response"], again["actor"]) == (True, RESPONSE, "resume-token:erp")


def test_an_invalid_resume_token_is_rejected(question: Interaction) -> None:
    """It is malformed, names another tenant, or is signed with another secret."""
    before = rows(Interaction)
    other = Interaction.objects.select_related("tenant").get(pk=question.pk)
    other.tenant.slug = "another"
    of_another_secret = token_of(question, "another secret that no token was signed with")
    for wrong in ("a.b", "é.é", token_of(other), of_another_secret):
        assert resume({"resumeToken": wrong, "response": 1}, 400)["code"] == "RESUME_TOKEN_INVALID"
    assert rows(Interaction) == before


def test_the_owner_of_a_token_answers_for_a_group(owner: Tenant, ready: Ready) -> None:
    making.execution(owner, "for finance")
    [claim] = making.claimed(owner)
    making.record(making.suspension(claim, group="finance", assignee="eva"))
    bot, stranger = (Caller(owner, Scope.READ, Scope.ANSWER, Scope.ADMINISTER) for _ in range(2))
    name = owner.tokens.get(name=bot.token).user.username
    set_to = bot.post("members/groups", {"username": name, "groups": ["legal", "finance"]})
    assert set_to == {"username": name, "groups": ["finance", "legal"]}
    [member] = [member for member in bot.get("members")["items"] if member["username"] == name]
    assert member["groups"] == set_to["groups"]
    shown = {caller: caller.get("questions?mine=true")["items"] for caller in (bot, stranger)}
    listed = [(row["businessKey"], row["restricted"], row["mayAnswer"]) for row in shown[bot]]
    assert (listed, shown[stranger]) == ([("for finance", True, True)], [])
    [question] = stranger.get("questions?mine=false&group=finance")["items"]
    assert (question["restricted"], question["mayAnswer"]) == (True, False)
    assert {row["mayAnswer"] for row in Caller(owner, Scope.READ).get("questions")["items"]} == {False}
    body = {"questionId": question["questionId"], "response": RESPONSE}
    refused = stranger.post(ANSWER, body, 403)
    assert (refused["code"], refused["assignee"], refused["group"]) == ("RECIPIENT_REQUIRED", "eva", "finance")
    assert refused["detail"] == "Only eva and members of finance may answer."
    change = {"assignee": None, "group": "legal", "reason": "it is a contract"}
    assert stranger.post(f"questions/{question['questionId']}/reassign", change)["group"] == "legal"
    assert not bot.post(ANSWER, body)["duplicate"]
