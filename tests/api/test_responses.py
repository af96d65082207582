"""Responses conform to the OpenAPI document, and pages contain each row exactly once."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from django.test import Client
from drf_spectacular.validation import validate_schema

from coordinator.urls import tenant_api
from executions.lifecycle import outcome
from executions.models import Execution
from releases.activation.activation import activate
from releases.models import Release
from releases.registration.registrar import verify_release
from tests import making
from tests.api.tenant_api import ELSEWHERE, ENDPOINTS, TenantApi, upload
from wire.messages.celery_messages import OutcomeGroup

TRACEBACK = 'Traceback (most recent call last):\n  File "orders.py", line 1, in act\nBadThing: why'
pytestmark = pytest.mark.django_db
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
TENANT = "/api/v1/tenants/{tenant}/"
RESUME = "/api/v1/resume"


@pytest.fixture
def document() -> dict[str, Any]:
    response = Client().get("/api/schema/?format=json")
    assert response.status_code == 200
    found: dict[str, Any] = response.json()
    return found


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path.removeprefix(TENANT)): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }


def conforms(document: dict[str, Any], method: str, path: str, response: Any) -> dict[str, Any]:
    """Return the body of a response. It must conform to the document."""
    responses = operations(document)[method, path]["responses"]
    assert str(response.status_code) in responses, response.content
    [(media, content)] = responses[str(response.status_code)]["content"].items()
    schema = content["schema"]
    body: dict[str, Any] = response.json()
    assert response.headers["Content-Type"] == media
    assert media == "application/json" or path.endswith(("/provenance", "/history/export"))
    validator = jsonschema.Draft202012Validator({**schema, "components": document["components"]})
    assert [error.message for error in validator.iter_errors(body)] == []
    return body


def names(value: Any, *, but: frozenset[str] = frozenset()) -> set[str]:
    """Return the names of all members in `value`, except for those inside the members `but`."""
    if isinstance(value, list):
        return {name for item in value for name in names(item, but=but)}
    if not isinstance(value, dict):
        return set()
    return set(value) | {name for key, item in value.items() if key not in but for name in names(item, but=but)}


# --- the document ---


def test_the_document_is_openapi_and_has_every_endpoint_once(document: dict[str, Any]) -> None:
    validate_schema(document)  # type: ignore[no-untyped-call]  # drf-spectacular has none here
    assert document["openapi"].startswith("3.1")
    outside = {("POST", RESUME)}
    assert set(operations(document)) - outside == ENDPOINTS.keys() | ELSEWHERE.keys()
    identifiers = [operation["operationId"] for operation in operations(document).values()]
    assert len(set(identifiers)) == len(identifiers)


def test_every_operation_documents_its_token_tenant_and_errors(document: dict[str, Any]) -> None:
    for (_, address), operation in operations(document).items():
        if address == RESUME:
            continue
        assert operation["security"] == [{"bearerToken": []}]
        refusals = {status: response for status, response in operation["responses"].items() if status >= "400"}
        assert {"401", "403", "404", "406", "500"} <= refusals.keys()
        for status, response in refusals.items():
            assert response["content"].keys() == {"application/problem+json"}
            assert response["content"]["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/Problem"}
            assert response["x-codes"], status
        assert operation["description"]
        path = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
        assert "tenant" in path


def test_the_table_of_endpoints_in_these_tests_is_complete() -> None:
    """`ENDPOINTS` drives the tests of permissions, so an endpoint that is missing there would not be tested."""
    urls = {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(each.pattern)) for each in tenant_api}
    assert urls == {path for _, path in ENDPOINTS | ELSEWHERE}


# --- the shapes ---


@pytest.mark.parametrize(("method", "path"), list(ENDPOINTS))
def test_each_response_conforms_to_the_document(
    ours: TenantApi, document: dict[str, Any], method: str, path: str
) -> None:
    response = ours.call(method, ours.url(path), ours.body(method, path))
    body = conforms(document, method, path, response)
    items = body.get("items", [body])
    assert items
    camel = re.compile(r"[a-z][a-zA-Z]*")
    # The names in inputs, contracts and events are those of authors or of the wire protocol.
    for name in names(items, but=frozenset({"contract", "descriptor", "result", "data"})):
        assert camel.fullmatch(name), name


def test_a_pipeline_shows_its_active_release(ours: TenantApi, document: dict[str, Any]) -> None:
    assert ours.get("pipelines/{pipeline_id}").json() == ours.get("pipelines").json()["items"][0]
    making.registered(ours.tenant, pipeline_id="org.example.idle")
    idle = conforms(document, "GET", "pipelines/{pipeline_id}", ours.get("pipelines/org.example.idle"))
    assert (idle["activeReleaseVersion"], idle["activeContractVersion"], idle["reasonRequired"]) == (None, None, False)
    active = ours.get("pipelines/{pipeline_id}").json()
    assert active["activeReleaseVersion"] == "1.0"
    assert active["activeContractVersion"] == ours.release.contract_version


def test_a_release_is_uploaded_and_verified(ours: TenantApi, document: dict[str, Any]) -> None:
    path = "pipelines/{pipeline_id}/releases"
    response = ours.post(path, upload("2.0"))
    taken = conforms(document, "POST", path, response)
    assert (response.status_code, taken["status"], taken["contract"], taken["active"]) == (202, "UPLOADED", None, False)
    assert response.headers["Location"] == f"http://testserver{ours.url(path)}/2.0"
    [artifact] = taken["artifacts"]
    assert artifact["size"] > 0
    assert artifact["stepIds"] == artifact["capabilities"] == []
    verify_release(Release.objects.get(release_version="2.0", pipeline=ours.release.pipeline).pk)

    response = ours.post(path, upload("2.0"))
    again = conforms(document, "POST", path, response)
    assert (response.status_code, again["status"]) == (200, "REGISTERED")
    assert again["contract"]["contractVersion"] == again["contractVersion"]
    assert again["uploadedBy"].startswith("token:client-")
    shown = conforms(document, "GET", f"{path}/{{release_version}}", ours.call("GET", response.headers["Location"]))
    assert shown == again


def test_a_release_shows_the_environment_that_its_artifact_requires(ours: TenantApi, document: dict[str, Any]) -> None:
    contract = making.contract()
    python = {"implementation": "cpython", "version": "3.12.1", "platform": "linux-x86_64"}
    entries = {"python.json": json.dumps(python), "requirements.lock": "attrs==25.1.0\nmine @ file:///srv/mine\n"}
    data = making.archive(contract, **{f"META-INF/pipeline/{name}": text for name, text in entries.items()})
    making.verified(making.upload(ours.tenant, making.descriptor(contract, data, "2.0"), data).release)
    path = "pipelines/{pipeline_id}/releases/{release_version}"
    shown = conforms(document, "GET", path, ours.get("pipelines/{pipeline_id}/releases/2.0"))
    distributions = [{"name": "attrs", "version": "25.1.0"}, {"name": "mine", "version": ""}]
    assert shown["artifacts"][0]["environment"] == {**python, "distributions": distributions}
    other = conforms(document, "GET", path, ours.get("pipelines/{pipeline_id}/releases/1.0"))
    assert other["artifacts"][0]["environment"] is None


def test_a_rejected_release_shows_each_finding(ours: TenantApi, document: dict[str, Any]) -> None:
    form = upload("2.0")
    del form["artifact"]
    path = "pipelines/{pipeline_id}/releases"
    assert ours.post(path, form).status_code == 202
    verify_release(Release.objects.get(release_version="2.0", pipeline=ours.release.pipeline).pk)
    shown = conforms(document, "GET", f"{path}/{{release_version}}", ours.get(f"{path}/2.0"))
    assert shown["status"] == "REJECTED"
    assert [(each["code"], each["severity"]) for each in shown["findings"]] == [("ARTIFACT_FILE_MISSING", "error")]


def test_activations_show_actor_release_and_rollback(ours: TenantApi, document: dict[str, Any]) -> None:
    second = making.registered(ours.tenant, "2.0")
    path = "pipelines/{pipeline_id}/activations"
    ours.post(path, {"releaseVersion": second.release_version})
    response = ours.post(path, {"releaseVersion": "1.0", "reason": "2.0 is wrong", "expectedReleaseVersion": "2.0"})
    made = conforms(document, "POST", path, response)
    assert response.status_code == 201
    assert (made["sequence"], made["rollback"], made["previousReleaseVersion"]) == (3, True, "2.0")
    assert (made["reason"], made["actor"]) == ("2.0 is wrong", "token:client-0")
    history = conforms(document, "GET", path, ours.get(path))["items"]
    assert [event["sequence"] for event in history] == [3, 2, 1]
    assert history[0] == made


def test_a_repeated_operation_key_returns_the_same_response(ours: TenantApi) -> None:
    path = "pipelines/{pipeline_id}/activations"
    body = {"releaseVersion": "1.0", "operationKey": "deploy-7"}
    first, again = ours.post(path, body), ours.post(path, body)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()


def test_a_submission_returns_202_with_the_pin_and_valid_links(ours: TenantApi, document: dict[str, Any]) -> None:
    body = ours.body("POST", "executions")
    response = ours.post("executions", body)
    made = conforms(document, "POST", "executions", response)
    assert (response.status_code, made["duplicate"], made["status"], made["error"]) == (202, False, "QUEUED", None)
    assert made["pin"] == {
        "pipelineId": making.PIPELINE,
        "contractVersion": ours.release.contract_version,
        "releaseVersion": "1.0",
    }
    assert response.headers["Location"] == made["links"]["self"]
    assert {key: ours.call("GET", url).status_code for key, url in made["links"].items()} == {
        "self": 200,
        "result": 200,
        "events": 200,
        "provenance": 200,
    }
    again = ours.post("executions", body)
    assert again.status_code == 200
    assert conforms(document, "POST", "executions", again) == {**made, "duplicate": True}


def finish(ours: TenantApi, *, failed: bool) -> None:
    """Record the outcome of the tenant's only execution."""
    [claim] = making.claimed(ours.tenant)
    reported = (
        making.failure(claim, "BadThing", retryable=False, traceback=TRACEBACK) if failed else making.outcome_of(claim)
    )
    outcome.record(ours.release.identity, OutcomeGroup(worker_id="w", outcomes=[reported]))


@pytest.mark.parametrize("failed", [True, False])
def test_a_finished_execution_shows_its_result_or_error(
    ours: TenantApi, document: dict[str, Any], failed: bool
) -> None:
    before = conforms(document, "GET", "executions/{execution_id}/result", ours.get("executions/{execution_id}/result"))
    assert (before["status"], before["result"]) == ("QUEUED", None)
    finish(ours, failed=failed)
    shown = conforms(document, "GET", "executions/{execution_id}", ours.get("executions/{execution_id}"))
    result = conforms(document, "GET", "executions/{execution_id}/result", ours.get("executions/{execution_id}/result"))
    events = conforms(document, "GET", "executions/{execution_id}/events", ours.get("executions/{execution_id}/events"))
    status = "FAILED" if failed else "SUCCEEDED"
    assert shown["status"] == result["status"] == events["items"][-1]["status"] == status
    assert shown["error"] == ({"code": "BadThing", "message": "why", "traceback": TRACEBACK} if failed else None)
    assert events["items"][-1]["data"].get("traceback") == (TRACEBACK if failed else None)
    assert result["result"] == (None if failed else {"n": 1})
    assert [event["sequence"] for event in events["items"]] == [1, 2, 3]
    assert datetime.fromisoformat(shown["finishedAt"]) >= datetime.fromisoformat(shown["createdAt"])


def test_a_worker_shows_its_release_and_state(ours: TenantApi) -> None:
    [worker] = ours.get("workers").json()["items"]
    assert (worker["workerId"], worker["state"], worker["capacity"]) == ("worker-1", "HEALTHY", 10)
    assert worker["pin"]["releaseVersion"] == "1.0"


# --- pages ---


def test_pages_contain_rows_with_equal_times_once(ours: TenantApi) -> None:
    """All rows of one transaction have the same creation time, so pages also need the id to order them."""
    made = {str(ours.execution.pk)} | {str(making.execution(ours.tenant, f"k{number}").pk) for number in range(6)}
    assert Execution.objects.filter(tenant=ours.tenant).values("created_at").distinct().count() == 1
    url, ids, pages = ours.url("executions?pageSize=3"), [], []
    while url:
        page = ours.call("GET", url).json()
        pages.append(page)
        ids += [item["executionId"] for item in page["items"]]
        url = page["next"]
    assert len(ids) == len(set(ids)) == 7
    assert set(ids) == made
    assert [len(page["items"]) for page in pages] == [3, 3, 1]
    assert pages[0]["previous"] is None


def test_rows_that_are_added_between_pages_do_not_move_the_others(ours: TenantApi) -> None:
    for _ in range(3):
        activate(ours.release, actor="")
    path = "pipelines/{pipeline_id}/activations?pageSize=2"
    first = ours.get(path).json()
    activate(ours.release, actor="")
    second = ours.call("GET", first["next"]).json()
    assert [event["sequence"] for event in first["items"] + second["items"]] == [4, 3, 2, 1]
    assert ours.get(path).json()["items"][0]["sequence"] == 5
    assert ours.call("GET", second["previous"]).json()["items"] == first["items"]
    assert second["next"] is None


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 3),
        ("status=QUEUED", 2),
        ("status=RUNNING", 1),
        ("status=DLQ", 0),
        ("pipelineId=org.example.orders", 3),
        ("pipelineId=org.example", 0),
        ("releaseVersion=1.0", 3),
        ("releaseVersion=2.0", 0),
        ("idempotencyKey=first", 1),
        ("status=QUEUED&idempotencyKey=first", 0),
    ],
)
def test_filters_select_by_equality(ours: TenantApi, query: str, count: int) -> None:
    making.claimed(ours.tenant)
    for number in range(2):
        making.execution(ours.tenant, f"k{number}")
    assert len(ours.get(f"executions?{query}").json()["items"]) == count


def test_an_error_without_a_traceback_shows_none(ours: TenantApi, document: dict[str, Any]) -> None:
    """The traceback of an earlier failure is not shown with a later one."""
    for message, traceback in (("first", TRACEBACK), ("second", "")):
        [claim] = making.claimed(ours.tenant)
        failed = making.failure(claim, "BadThing", message=message, traceback=traceback)
        outcome.record(ours.release.identity, OutcomeGroup(worker_id="w", outcomes=[failed]))
        shown = conforms(document, "GET", "executions/{execution_id}", ours.get("executions/{execution_id}"))
        assert shown["error"] == {"code": "BadThing", "message": message, "traceback": traceback}
        Execution.objects.filter(pk=claim.execution_id).update(next_due_at=LONG_AGO)
