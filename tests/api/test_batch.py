"""Many executions in one request: each with a verdict of its own, and none at the cost of another."""

import json
from typing import Any

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from coordinator.tenancy.roles import Scope
from executions.api import ExecutionView
from executions.models import Execution
from executions.submissions_api import SubmissionRequest, _order, _plain
from releases.models import Release
from tests import making
from tests.api.house import House, everything, fields, refused

pytestmark = pytest.mark.django_db
PATH = "executions:batch"


def item(key: str, **members: Any) -> dict[str, Any]:
    return {"pipelineId": making.PIPELINE, "input": {"n": 1}, "idempotencyKey": key, **members}


def verdicts(ours: House, *items: Any) -> list[dict[str, Any]]:
    answer = ours.post(PATH, {"items": list(items)})
    assert answer.status_code == 200, answer.content
    told: list[dict[str, Any]] = json.loads(answer.content)["items"]
    assert len(told) == len(items)
    return told


def test_every_item_is_accepted_as_if_it_had_come_alone(ours: House) -> None:
    told = verdicts(ours, *(item(f"k{number}", input={"n": number}) for number in range(20)))
    assert [each["status"] for each in told] == [202] * 20
    for number, each in enumerate(told):
        execution = Execution.objects.get(pk=each["execution"]["executionId"])
        assert (execution.execution_key, execution.input, execution.status) == (f"k{number}", {"n": number}, "QUEUED")
        assert execution.pin == ours.release.identity
        assert making.history(execution) == [("SUBMITTED", "QUEUED")]


def test_what_is_told_is_what_a_single_submission_and_a_read_tell(ours: House) -> None:
    [told] = verdicts(ours, item("k"))
    read = json.loads(ours.get(f"executions/{told['execution']['executionId']}").content)
    assert told["execution"] == {**read, "duplicate": False}
    assert set(read) == set(ExecutionView().fields)
    again = ours.post("executions", item("k"))
    assert again.status_code == 200
    assert again.json() == {**read, "duplicate": True}
    single = ours.post("executions", item("other"))
    assert single.status_code == 202
    assert single.headers["Location"] == single.json()["links"]["self"]
    assert set(single.json()) == set(told["execution"])


def test_a_tenant_that_is_not_allowed_submits_nothing(ours: House, settings: Any) -> None:
    settings.ALLOWED_TENANTS = ["another"]
    told = verdicts(ours, item("k"), item("l"))
    assert [(each["status"], each["problem"]["code"]) for each in told] == [(403, "TENANT_NOT_ALLOWED")] * 2
    refused(ours.post("executions", item("k")), 403, "TENANT_NOT_ALLOWED")
    assert not Execution.objects.filter(execution_key__in=["k", "l"]).exists()


def test_one_refusal_does_not_touch_the_others(ours: House) -> None:
    verdicts(ours, item("taken", input={"n": 0}))
    told = verdicts(
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
    assert [each["status"] for each in told] == [202, 409, 404, 400, 400, 409, 200, 202]
    codes = [each["problem"]["code"] for each in told if each["problem"]]
    assert [each["execution"] is None for each in told] == [each["problem"] is not None for each in told]
    assert codes == [
        "IDEMPOTENCY_KEY_REUSED",
        "PIPELINE_UNKNOWN",
        "INVALID_REQUEST",
        "INVALID_REQUEST",
        "ACTIVE_RELEASE_CHANGED",
    ]
    assert fields(told[4]["problem"]) == {"extra": "UNKNOWN_MEMBER"}
    assert Execution.objects.filter(execution_key__in=["one", "last"]).count() == 2


def test_of_two_with_the_same_key_the_second_is_a_duplicate_or_a_conflict(ours: House) -> None:
    told = verdicts(ours, item("k"), item("k"), item("k", input={"n": 2}))
    assert [each["status"] for each in told] == [202, 200, 409]
    assert told[0]["execution"]["executionId"] == told[1]["execution"]["executionId"]
    assert Execution.objects.filter(execution_key="k").count() == 1


def test_a_batch_that_is_sent_again_makes_nothing_new(ours: House) -> None:
    items = [item(f"k{number}") for number in range(30)]
    first = verdicts(ours, *items)
    before = everything()
    again = verdicts(ours, *items)
    assert [each["status"] for each in again] == [200] * 30
    assert [each["execution"]["executionId"] for each in again] == [each["execution"]["executionId"] for each in first]
    assert everything() == before


def test_each_item_hears_why_nothing_is_taken_in(ours: House) -> None:
    Release.objects.update(status="REVOKED")
    told = verdicts(ours, item("a"), item("b"))
    assert [(each["status"], each["problem"]["code"]) for each in told] == [(409, "NO_ACTIVE_RELEASE")] * 2


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({}, {"items": "REQUIRED"}),
        ({"items": []}, {"items": "MIN_LENGTH"}),
        ({"items": {}}, {"items": "NOT_A_LIST"}),
        ({"items": None}, {"items": "NULL"}),
        ({"items": [item("k")], "more": 1}, {"more": "UNKNOWN_MEMBER"}),
        ({"items": [item("k")] * 1001}, {"items": "MAX_LENGTH"}),
    ],
)
def test_what_is_no_batch_is_refused_whole(ours: House, body: dict[str, Any], found: dict[str, str]) -> None:
    token = ours.all_scopes
    before = everything()
    assert fields(refused(ours.post(PATH, body, token=token), 400, "INVALID_REQUEST")) == found
    assert everything() == before


def test_a_batch_beyond_its_limit_is_refused_whole(ours: House, settings: Any) -> None:
    body = json.dumps({"items": [item("k")]}).encode()
    settings.MAX_BATCH_BYTES = len(body) - 1
    settings.MAX_REQUEST_BYTES = 1
    refused(ours.post(PATH, body), 413, "PAYLOAD_TOO_LARGE")
    settings.MAX_BATCH_BYTES = len(body)
    assert ours.post(PATH, body).status_code == 200


def test_who_may_not_submit_one_may_not_submit_many(ours: House, theirs: House) -> None:
    body = {"items": [item("k")]}
    refused(ours.post(PATH, body, token=ours.token(Scope.READ)), 403, "SCOPE_MISSING")
    refused(ours.post(PATH, body, token=theirs.all_scopes), 404, "NOT_FOUND")
    refused(ours.post(PATH, body, token="dc_nobody"), 401, "NOT_AUTHENTICATED")
    assert Client().post(ours.url(PATH), b"{}", content_type="application/json").status_code == 401
    refused(ours.get(PATH), 405, "METHOD_NOT_ALLOWED")


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=3)
NAMES = ["pipelineId", "input", "idempotencyKey", "expectedReleaseVersion", "more"]


@given(
    st.dictionaries(st.sampled_from(NAMES), JSON)
    | st.fixed_dictionaries(
        {"pipelineId": st.text(), "input": JSON, "idempotencyKey": st.text()},
        optional={"expectedReleaseVersion": st.none() | st.text()},
    )
)
def test_what_passes_for_plain_the_serializer_would_have_let_through(asked: dict[str, Any]) -> None:
    checked = SubmissionRequest(data=asked)
    if _plain(asked):
        assert checked.is_valid(), checked.errors
        order = _order(asked)
        told = (order.pipeline_id, order.input, order.idempotency_key, order.expected_release_version)
        assert told == tuple(checked.validated_data[name] for name in NAMES[:4])
