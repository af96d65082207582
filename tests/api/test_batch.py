"""REST of batches: each item has a separate result and does not affect the others."""

import json
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executions.api.executions import ExecutionView
from executions.api.submissions import SubmissionRequest
from executions.models import Execution
from releases.activation.revocation import revoke
from releases.models import Release
from tests import making
from tests.api.tenant_api import TenantApi, everything, fields, refused
from tests.cases import cases

pytestmark = pytest.mark.django_db
PATH = "executions:batch"


def item(key: str, **members: Any) -> dict[str, Any]:
    return {"pipelineId": making.PIPELINE, "input": {"n": 1}, "idempotencyKey": key, **members}


def verdicts(ours: TenantApi, *items: Any) -> list[dict[str, Any]]:
    response = ours.post(PATH, {"items": list(items)})
    assert response.status_code == 200, response.content
    results: list[dict[str, Any]] = json.loads(response.content)["items"]
    assert len(results) == len(items)
    return results


def test_every_item_is_accepted_like_a_single_submission_and_once(ours: TenantApi) -> None:
    items = [item(f"k{number}", input={"n": number}) for number in range(20)]
    results = verdicts(ours, *items)
    assert [each["status"] for each in results] == [202] * 20
    for number, each in enumerate(results):
        execution = Execution.objects.get(pk=each["execution"]["executionId"])
        assert (execution.execution_key, execution.input, execution.status) == (f"k{number}", {"n": number}, "QUEUED")
        assert execution.pin == ours.release.identity
        assert making.history(execution) == [("SUBMITTED", "QUEUED")]
    before = everything()
    again = verdicts(ours, *items)
    assert [(each["status"], each["execution"]["executionId"]) for each in again] == [
        (200, each["execution"]["executionId"]) for each in results
    ]
    assert everything() == before


def test_a_batch_reports_an_execution_as_a_single_submission_and_a_read_do(ours: TenantApi) -> None:
    [result] = verdicts(ours, item("k"))
    read = json.loads(ours.get(f"executions/{result['execution']['executionId']}").content)
    # A new execution has no links, so the responses to submissions leave them out.
    assert (read.pop("resubmittedFrom"), read.pop("resubmittedAs")) == (None, [])
    assert result["execution"] == {**read, "duplicate": False, "dispatchDelayed": False}
    assert set(read) == set(ExecutionView().fields)
    again = ours.post("executions", item("k"))
    assert again.status_code == 200
    assert again.json() == {**read, "duplicate": True, "dispatchDelayed": False}
    single = ours.post("executions", item("other"))
    assert single.status_code == 202
    assert single.headers["Location"] == single.json()["links"]["self"]
    assert set(single.json()) == set(result["execution"])


def test_a_tenant_that_is_not_allowed_submits_nothing(ours: TenantApi, settings: Any) -> None:
    settings.ALLOWED_TENANTS = ["another"]
    results = verdicts(ours, item("k"), item("l"))
    assert [(each["status"], each["problem"]["code"]) for each in results] == [(403, "TENANT_NOT_ALLOWED")] * 2
    refused(ours.post("executions", item("k")), 403, "TENANT_NOT_ALLOWED")
    assert not Execution.objects.filter(execution_key__in=["k", "l"]).exists()


def test_a_rejected_item_does_not_affect_the_others(ours: TenantApi) -> None:
    verdicts(ours, item("taken", input={"n": 0}))
    results = verdicts(
        ours,
        item("one"),
        item("taken"),
        item("unknown", pipelineId="no.such.pipeline"),
        "no object",
        item("x", extra=1),
        item("other", expectedReleaseVersion="0.9"),
        item("taken", input={"n": 0}),
        item("last"),
    )
    assert [each["status"] for each in results] == [202, 409, 404, 400, 400, 409, 200, 202]
    codes = [each["problem"]["code"] for each in results if each["problem"]]
    assert [each["execution"] is None for each in results] == [each["problem"] is not None for each in results]
    assert codes == [
        "IDEMPOTENCY_KEY_REUSED",
        "PIPELINE_UNKNOWN",
        "INVALID_REQUEST",
        "INVALID_REQUEST",
        "ACTIVE_RELEASE_CHANGED",
    ]
    assert fields(results[4]["problem"]) == {"extra": "UNKNOWN_MEMBER"}
    assert Execution.objects.filter(execution_key__in=["one", "last"]).count() == 2


def test_the_first_item_with_a_key_wins(ours: TenantApi) -> None:
    keys = [f"k{number}" for number in range(20)]
    results = verdicts(ours, *(item(key, input={"n": n}) for key in keys for n in (1, 2, 1)))
    assert [each["status"] for each in results] == [202, 409, 200] * 20
    assert results[0]["execution"]["executionId"] == results[2]["execution"]["executionId"]
    assert set(Execution.objects.filter(execution_key__in=keys).values_list("input__n", flat=True)) == {1}


def test_a_rejected_item_does_not_use_its_key(ours: TenantApi) -> None:
    results = verdicts(ours, item("k", expectedReleaseVersion="0.9"), item("k", input={"n": 2}), item("k"))
    assert [each["status"] for each in results] == [409, 202, 409]
    assert [each["problem"] and each["problem"]["code"] for each in results] == [
        "ACTIVE_RELEASE_CHANGED",
        None,
        "IDEMPOTENCY_KEY_REUSED",
    ]


def test_each_item_has_the_reason_of_its_rejection(ours: TenantApi) -> None:
    revoke(Release.objects.get(pk=ours.release.pk), actor="user:test", reason="leaked")
    results = verdicts(ours, item("a"), item("b"))
    assert [(each["status"], each["problem"]["code"]) for each in results] == [(409, "ACTIVE_RELEASE_REVOKED")] * 2


@cases(
    ("body", "found"),
    [
        ({}, {"items": "REQUIRED"}),
        ({"items": []}, {"items": "MIN_LENGTH"}),
        ({"items": [item("k")], "more": 1}, {"more": "UNKNOWN_MEMBER"}),
        ({"items": [item("k")] * 1001}, {"items": "MAX_LENGTH"}),
    ],
)
def test_an_invalid_batch_is_rejected(ours: TenantApi, body: dict[str, Any], found: dict[str, str]) -> None:
    token = ours.all_scopes
    before = everything()
    assert fields(refused(ours.post(PATH, body, token=token), 400, "INVALID_REQUEST")) == found
    assert everything() == before


def test_a_batch_above_its_limit_is_rejected(ours: TenantApi, settings: Any) -> None:
    body = json.dumps({"items": [item("k")]}).encode()
    settings.MAX_BATCH_BYTES = len(body) - 1
    settings.MAX_REQUEST_BYTES = 1
    refused(ours.post(PATH, body), 413, "PAYLOAD_TOO_LARGE")
    settings.MAX_BATCH_BYTES = len(body)
    assert ours.post(PATH, body).status_code == 200


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
JSON = st.recursive(st.none() | st.booleans() | st.integers(-(2**31), 2**31) | TEXT, st.lists, max_leaves=3)
NAMES = ["pipelineId", "input", "idempotencyKey", "expectedReleaseVersion", "more"]


@given(
    st.dictionaries(st.sampled_from(NAMES), JSON)
    | st.fixed_dictionaries(
        {"pipelineId": st.just(making.PIPELINE) | TEXT, "input": JSON, "idempotencyKey": TEXT},
        optional={"expectedReleaseVersion": st.none() | TEXT},
    )
)
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_an_item_is_invalid_exactly_if_the_serializer_rejects_it(ours: TenantApi, body: dict[str, Any]) -> None:
    """Most items are accepted by the plain check, without the serializer."""
    serializer = SubmissionRequest(data=body)
    [verdict] = verdicts(ours, body)
    assert (verdict["status"] == 400) is not serializer.is_valid(), serializer.errors
    if verdict["status"] == 202:
        made = Execution.objects.get(pk=verdict["execution"]["executionId"])
        assert [made.pipeline_id, made.input, made.execution_key] == [body[name] for name in NAMES[:3]]
