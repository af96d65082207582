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


@cases(
    ("body", "found"),
    [
        ({}, {"items": "REQUIRED"}),
        ({"items": []}, {"items": "MIN_LENGTH"}),
        ({"items": [item("k")] * 1001}, {"items": "MAX_LENGTH"}),
    ],
)
def test_an_invalid_batch_is_rejected(ours: TenantApi, body: dict[str, Any], found: dict[str, str]) -> None:
    token = ours.all_scopes
    before = everything()
    assert fields(refused(ours.post(PATH, body, token=token), 400, "INVALID_REQUEST")) == found
    assert everything() == before


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
@hypothesis.settings(max_examples=25, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_an_item_is_invalid_exactly_if_the_serializer_rejects_it(ours: TenantApi, body: dict[str, Any]) -> None:
    """Most items are accepted by the plain check, without the serializer."""
    serializer = SubmissionRequest(data=body)
    [verdict] = verdicts(ours, body)
    assert (verdict["status"] == 400) is not serializer.is_valid(), serializer.errors
    if verdict["status"] == 202:
        made = Execution.objects.get(pk=verdict["execution"]["executionId"])
        assert [made.pipeline_id, made.input, made.execution_key] == [body[name] for name in NAMES[:3]]
