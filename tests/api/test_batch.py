"""REST of batches: each item has a separate result and does not affect the others."""

import json
from typing import Any

from executions.models import Execution
from tests import making
from tests.api.tenant_api import TenantApi, fields, refused, unchanged
from tests.cases import cases

PATH = "executions:batch"


def item(key: str, **members: Any) -> dict[str, Any]:
    return {"pipelineId": making.PIPELINE, "input": {"n": 1}, "idempotencyKey": key, **members}


def verdicts(ours: TenantApi, *items: Any) -> list[dict[str, Any]]:
    response = ours.post(PATH, {"items": list(items)})
    assert response.status_code == 200, response.content
    results: list[dict[str, Any]] = json.loads(response.content)["items"]
    assert len(results) == len(items)
    return results


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
    with unchanged():
        assert fields(refused(ours.post(PATH, body), 400, "INVALID_REQUEST")) == found
