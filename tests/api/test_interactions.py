"""REST of interactions: lists, responses, and resume tokens."""

import json
import uuid
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from executions.awaits import awaits
from executions.lifecycle import outcome
from executions.models import AwaitUnit, Execution, ExecutionEvent, Interaction
from releases.models import Release
from tenancy.models import Tenant
from tenancy.roles import GRANTS, Role, Scope
from tests import making
from tests.api.caller import Caller
from tests.raw_sql import rows, run
from wire.messages.celery_messages import OutcomeGroup

pytestmark = pytest.mark.django_db
TABLES = (Execution, ExecutionEvent, AwaitUnit, Interaction)
RESPONSE = {"n": 5}


class Client(Caller):
    """A client that also completes and lists interactions."""

    def complete(self, body: Any, status: int = 200) -> Any:
        return self.post("interactions/complete", body.encode() if isinstance(body, str) else body, status)

    def pending(self, query: str = "") -> list[str]:
        return [item["stepId"] for item in self.get(f"interactions?status=pending&{query}")["items"]]


@pytest.fixture
def ready() -> tuple[Tenant, Release]:
    return making.ready()


@pytest.fixture
def client(ready: tuple[Tenant, Release]) -> Client:
    return Client(ready[0], Scope.READ, Scope.ANSWER)


@pytest.fixture
def anonymous() -> APIClient:
    return APIClient()


def waiting(ready: tuple[Tenant, Release], key: str = "key", **members: Any) -> Interaction:
    owner, release = ready
    execution = making.execution(owner, key)
    [claim] = making.claimed(owner)
    outcome.record(release.identity, OutcomeGroup(worker_id="w", outcomes=[making.suspension(claim, **members)]))
    return Interaction.objects.get(execution=execution)


def token_of(interaction: Interaction) -> str:
    return awaits.resume_token_of(interaction, issued_at=timezone.now()).sign(awaits.resume_secrets()[0])


def everything() -> list[Any]:
    return [rows(table) for table in TABLES]


# --- lists --------------------------------------------------------------------------------------


def test_an_interaction_shows_its_request_and_assignee(ready: tuple[Tenant, Release], client: Client) -> None:
    interaction = waiting(ready, request='{"n": 3}', assignee="eva", group="finance")
    shown = client.get(f"interactions/{interaction.pk}")
    links = shown.pop("links")
    times = [shown.pop(name) for name in ("deadline", "createdAt", "updatedAt")]
    assert shown == {
        "interactionId": str(interaction.pk),
        "correlationId": interaction.correlation_id,
        "executionId": str(interaction.execution_id),
        "pipelineId": making.PIPELINE,
        "stepId": "Approve",
        "stepIndex": 0,
        "itemIndex": None,
        "outputType": "Order",
        "status": "DISPATCHED",
        "request": {"n": 3},
        "assignee": "eva",
        "group": "finance",
        "transport": "interaction-api",
        "transportMetadata": {},
        "response": None,
        "actor": None,
        "completedAt": None,
        "note": None,
        "channel": None,
        "claimedBy": None,
        "claimedUntil": None,
        "delegate": None,
        "dispatchAttempts": 0,
        "lastDispatchError": "",
    }
    assert all(times)
    assert client.http.get(links["self"]).json()["interactionId"] == str(interaction.pk)
    assert client.http.get(links["execution"]).json()["status"] == "WAITING_EXTERNAL"


def test_pending_interactions_are_filtered_and_ordered_by_deadline(
    ready: tuple[Tenant, Release], client: Client
) -> None:
    waiting(ready, "a", step_id="A", timeout_seconds=300, assignee="eva")
    waiting(ready, "b", step_id="B", timeout_seconds=100, group="finance")
    late = waiting(ready, "c", step_id="C", timeout_seconds=200, assignee="eva", group="finance")
    waiting(making.ready(), "other", step_id="Foreign")
    assert client.pending() == ["B", "C", "A"]
    assert client.pending("assignee=eva") == ["C", "A"]
    assert client.pending("group=finance") == ["B", "C"]
    assert client.pending("assignee=eva&group=finance") == ["C"]
    assert client.pending("stepId=B") == ["B"]
    assert client.pending(f"pipelineId={making.PIPELINE}") == ["B", "C", "A"]
    assert client.pending("pipelineId=other") == []
    assert client.pending("transport=webhook") == []
    assert client.pending(f"executionId={late.execution_id}") == ["C"]
    # An interaction whose deadline has passed is pending until it is timed out.
    run("UPDATE executions_interaction SET deadline = now() - interval '1 s' WHERE id = %s", late.pk)
    assert client.pending() == ["C", "B", "A"]
    client.complete({"interactionId": str(late.pk), "response": RESPONSE}, 409)
    assert client.pending() == ["B", "A"]
    assert [item["stepId"] for item in client.get("interactions?status=TIMED_OUT")["items"]] == ["C"]
    assert len(client.get("interactions")["items"]) == 3


def test_pages_contain_every_interaction_once(ready: tuple[Tenant, Release], client: Client) -> None:
    for number in range(5):
        waiting(ready, f"k{number}", step_id=f"S{number}")
    page = client.get("interactions?status=pending&pageSize=2")
    steps = [item["stepId"] for item in page["items"]]
    while page["next"]:
        page = client.http.get(page["next"]).json()
        steps += [item["stepId"] for item in page["items"]]
    assert sorted(steps) == [f"S{number}" for number in range(5)]
    assert len(steps) == 5


@pytest.mark.parametrize(
    "path",
    ["interactions?status=nonsense", "interactions?executionId=x", "interactions?cursor=cD14"],
)
def test_an_invalid_list_query_is_rejected(client: Client, path: str) -> None:
    assert client.get(path, 400)["code"] == "INVALID_REQUEST"


def test_missing_interactions_and_those_of_other_tenants_are_unknown(client: Client) -> None:
    foreign = waiting(making.ready())
    assert client.get(f"interactions/{foreign.pk}", 404)["code"] == "INTERACTION_UNKNOWN"
    assert client.get(f"interactions/{uuid.uuid4()}", 404)["code"] == "INTERACTION_UNKNOWN"
    client.get("interactions/nonsense", 404)


# --- responses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["interactionId", "correlationId", "resumeToken"])
def test_an_interaction_is_completed_by_each_identifier(
    ready: tuple[Tenant, Release], client: Client, name: str
) -> None:
    interaction = waiting(ready)
    body = {
        "interactionId": str(interaction.pk),
        "correlationId": interaction.correlation_id,
        "resumeToken": token_of(interaction),
    }
    done = client.complete({name: body[name], "response": RESPONSE})
    assert done.pop("completedAt")
    assert done == {
        "interactionId": str(interaction.pk),
        "executionId": str(interaction.execution_id),
        "stepId": "Approve",
        "status": "COMPLETED",
        "response": RESPONSE,
        "actor": f"token:{client.token}",
        "duplicate": False,
    }
    assert client.get(f"executions/{interaction.execution_id}")["status"] == "QUEUED"
    again = client.complete({**body, "response": None})
    assert (again["duplicate"], again["response"]) == (True, RESPONSE)


def test_null_is_a_response_and_a_missing_response_is_invalid(ready: tuple[Tenant, Release], client: Client) -> None:
    interaction = waiting(ready)
    refused = client.complete({"interactionId": str(interaction.pk)}, 400)
    assert [(error["field"], error["code"]) for error in refused["errors"]] == [("response", "REQUIRED")]
    assert client.complete({"interactionId": str(interaction.pk), "response": None})["response"] is None


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"response": 1}, 400, "INVALID_REQUEST"),
        ({"interactionId": "nonsense", "response": 1}, 400, "INVALID_REQUEST"),
        ({"interactionId": 7, "response": 1}, 400, "INVALID_REQUEST"),
        ({"correlationId": 7, "response": 1}, 400, "INVALID_REQUEST"),
        ({"correlationId": "", "response": 1}, 400, "INVALID_REQUEST"),
        ({"correlationId": "x" * 201, "response": 1}, 400, "INVALID_REQUEST"),
        ({"correlationId": "x", "response": 1, "actor": "me"}, 400, "INVALID_REQUEST"),
        ({"resumeToken": "x" * 5000, "response": 1}, 400, "INVALID_REQUEST"),
        ({"resumeToken": "a.b", "response": 1}, 400, "RESUME_TOKEN_INVALID"),
        ({"correlationId": "unknown", "response": 1}, 404, "INTERACTION_UNKNOWN"),
        ({"interactionId": str(uuid.uuid4()), "response": 1}, 404, "INTERACTION_UNKNOWN"),
        ([], 400, "INVALID_REQUEST"),
        ("", 400, "INVALID_REQUEST"),
        ('{"response": 1, "response": 2}', 400, "INVALID_REQUEST"),
        ('{"correlationId": "a", "response": NaN}', 400, "INVALID_REQUEST"),
        ('{"correlationId": "a\\u0000", "response": 1}', 400, "INVALID_REQUEST"),
        ('{"correlationId": "a", "response": "\\u0000"}', 400, "INVALID_REQUEST"),
        ('{"correlationId": "a", "response": "\\ud800"}', 400, "INVALID_REQUEST"),
        ('{"correlationId": "a", "response": ' + "[" * 100 + "]" * 100 + "}", 400, "INVALID_REQUEST"),
        (b'{"correlationId": "\xff"}', 400, "INVALID_REQUEST"),
        (" " * (1024**2 + 1), 413, "PAYLOAD_TOO_LARGE"),
    ],
)
def test_bad_input_has_a_code_and_changes_nothing(
    ready: tuple[Tenant, Release], client: Client, body: Any, status: int, code: str
) -> None:
    waiting(ready)
    before = everything()
    assert client.complete(body, status)["code"] == code
    assert everything() == before


def test_completing_needs_its_scope_which_operators_have(ready: tuple[Tenant, Release]) -> None:
    interaction = waiting(ready)
    body = {"interactionId": str(interaction.pk), "response": RESPONSE}
    refused = Client(ready[0], *(set(Scope) - {Scope.ANSWER})).complete(body, 403)
    assert (refused["code"], refused["scope"]) == ("SCOPE_MISSING", "interactions:complete")
    Client(ready[0], Scope.ANSWER).complete(body)
    assert Scope.ANSWER in GRANTS[Role.OPERATOR]


def test_an_interaction_of_another_tenant_is_unknown_by_any_identifier(client: Client) -> None:
    foreign = waiting(making.ready())
    before = everything()
    for name in ({"interactionId": str(foreign.pk)}, {"correlationId": foreign.correlation_id}):
        assert client.complete({**name, "response": 1}, 404)["code"] == "INTERACTION_UNKNOWN"
    refused = client.complete({"resumeToken": token_of(foreign), "response": 1}, 404)
    assert refused["code"] == "INTERACTION_UNKNOWN"
    assert everything() == before


def test_a_late_response_is_rejected(ready: tuple[Tenant, Release], client: Client) -> None:
    interaction = waiting(ready)
    run("UPDATE executions_interaction SET deadline = now() WHERE id = %s", interaction.pk)
    for _ in range(2):
        refused = client.complete({"correlationId": interaction.correlation_id, "response": RESPONSE}, 409)
        assert (refused["code"], refused["interactionId"]) == ("AWAIT_TIMEOUT", str(interaction.pk))
    assert client.get(f"executions/{interaction.execution_id}")["error"]["code"] == "AWAIT_TIMEOUT"


# --- resume tokens --------------------------------------------------------------------


def resume(anonymous: APIClient, body: Any, status: int = 200) -> Any:
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    response = anonymous.post("/api/v1/resume", data, content_type="application/json")
    assert response.status_code == status, response.content
    return response.json()


def test_a_resume_token_needs_no_bearer_token(ready: tuple[Tenant, Release], anonymous: APIClient) -> None:
    interaction = waiting(ready)
    done = resume(anonymous, {"resumeToken": token_of(interaction), "response": RESPONSE, "actor": "erp"})
    assert (done["interactionId"], done["duplicate"], done["actor"]) == (str(interaction.pk), False, "resume-token:erp")
    again = resume(anonymous, {"resumeToken": token_of(interaction), "response": 0})
    assert (again["duplicate"], again["response"], again["actor"]) == (True, RESPONSE, "resume-token:erp")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"response": 1}, 400, "INVALID_REQUEST"),
        ({"resumeToken": None, "response": 1}, 400, "INVALID_REQUEST"),
        ({"resumeToken": "a.b", "response": 1, "more": 1}, 400, "INVALID_REQUEST"),
        ({"resumeToken": "a.b", "response": 1, "actor": "x" * 151}, 400, "INVALID_REQUEST"),
        ({"resumeToken": "a.b", "response": 1}, 400, "RESUME_TOKEN_INVALID"),
        ({"resumeToken": "é.é", "response": 1}, 400, "RESUME_TOKEN_INVALID"),
        ("{", 400, "INVALID_REQUEST"),
    ],
)
def test_an_invalid_resume_token_is_rejected(
    ready: tuple[Tenant, Release], anonymous: APIClient, body: Any, status: int, code: str
) -> None:
    waiting(ready)
    before = everything()
    assert resume(anonymous, body, status)["code"] == code
    assert everything() == before


def test_a_resume_token_of_another_secret_or_a_deleted_tenant_is_rejected(
    ready: tuple[Tenant, Release], anonymous: APIClient, settings: Any
) -> None:
    interaction = waiting(ready)
    token = token_of(interaction)
    interaction.tenant.slug = "another"
    stray = token_of(interaction)
    assert resume(anonymous, {"resumeToken": stray, "response": RESPONSE}, 400)["code"] == "RESUME_TOKEN_INVALID"
    settings.WORKER_SECRET = "another secret that no token was signed with"
    assert resume(anonymous, {"resumeToken": token, "response": RESPONSE}, 400)["code"] == "RESUME_TOKEN_INVALID"
    assert Interaction.objects.get(pk=interaction.pk).status == "DISPATCHED"
