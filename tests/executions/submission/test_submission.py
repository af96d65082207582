import json
import uuid
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import example, given, settings
from hypothesis import strategies as st

from executions import errors
from executions.holds import holds
from executions.lifecycle import queries, retention
from executions.lifecycle.interventions import cancel
from executions.models import Execution, Resubmission, WireForm, Worker, read_business_keys
from executions.search import Search, matching
from executions.search_steps import MOST_RARE
from executions.submission import admission
from executions.submission.submission import ExecutionRequest, Submission, submit_many
from executions.workers.registry import DISPATCH_TASK
from foundation.errors import CoordinatorError
from governance.activation.activation import activate
from governance.resubmission.resubmission import resubmit
from governance.retirement.retirement import revoke
from releases.errors import NoActiveRelease, ReleaseNotOpen, ReleaseUnknown
from releases.models import Release
from releases.tasks import check_blob
from tenancy.models import Tenant
from tests import gradual, making
from tests.cases import cases
from tests.executions.submission.continuing import order
from tests.raw_sql import raised, unchanged
from tests.wakeups import announced
from wire.documents import json_writer

Contract = dict[str, Any]
TYPED: Contract = {"schemaVersion": 2, "canonicalTypes": order("n")}


def contract_of(cardinality: str, **members: Any) -> Contract:
    return {"steps": [{**making.STEP, "cardinality": cardinality}], **members}


MANY, MANY_TYPED = contract_of("MANY_TO_ONE"), contract_of("MANY_TO_MANY", **TYPED)


def send(owner: Tenant, **members: Any) -> Submission:
    return making.submitted(owner, members.pop("idempotency_key", "k"), **members)


def refusal(owner: Tenant, **members: Any) -> CoordinatorError:
    return raised(CoordinatorError, send, owner, **members)


def test_an_execution_is_pinned_and_has_a_first_event(owner: Tenant, release: Release) -> None:
    value = {"n": 1, "text": "é 😀", "list": [1.5, None, True]}
    with announced() as wakeups:
        made = send(owner, input=value)
    assert [wakeup[0] for wakeup in wakeups] == [DISPATCH_TASK]
    execution = made.execution
    assert (made.duplicate, execution.status, execution.version, execution.attempt) == (False, "QUEUED", 0, 0)
    assert (execution.pin, execution.release_id) == (release.identity, release.pk)
    assert (execution.input, execution.input_shape, execution.current_step_index) == (value, "UNI", 0)
    assert (execution.result_shape, execution.next_due_at <= timezone.now()) == ("SINGLE", True)
    assert making.history(execution) == [("SUBMITTED", "QUEUED")]
    event = execution.events.get()
    assert event.actor == execution.submitted_by == "token:test"
    assert event.data == {"contractVersion": release.contract_version, "releaseVersion": "1.0"}


def test_errors_have_the_documented_order() -> None:
    owner = making.tenant()
    wrong: dict[str, Any] = {"input": {"n": "one"}, "expected_release_version": "0.9"}
    assert refusal(owner, **wrong).code == "PIPELINE_UNKNOWN"
    release = making.registered(owner, **TYPED)
    file = making.stored_file(release.artifacts.get().digest)
    good = file.read_bytes()
    assert refusal(owner, **wrong).code == "NO_ACTIVE_RELEASE"
    activate(release, actor="")
    file.unlink()
    assert refusal(owner, **wrong).code == "ACTIVE_RELEASE_CHANGED"
    del wrong["expected_release_version"]
    assert refusal(owner, **wrong).code == "INPUT_INVALID"
    del wrong["input"]
    assert refusal(owner, **wrong).code == "ARTIFACT_MISSING"
    file.write_bytes(b"other")
    assert refusal(owner, **wrong).code == "ARTIFACT_ALTERED"
    file.write_bytes(good)
    assert refusal(owner, **wrong).code == "ARTIFACT_UNVERIFIED"
    check_blob(making.digest_of(good))
    making.worker(making.registered(owner, "2.0", **TYPED), "of another release")
    assert refusal(owner, **wrong).code == "WORKER_UNAVAILABLE"
    making.worker(release)
    assert send(owner).duplicate is False
    Worker.objects.filter(tenant=owner).update(stopped_at=making.LONG_AGO)
    assert refusal(owner, input={"n": 2}, expected_release_version="0.9").code == "IDEMPOTENCY_KEY_REUSED"


def test_a_repeat_returns_the_first_execution_even_if_a_new_one_is_rejected_and_another_input_not(
    owner: Tenant,
) -> None:
    first = send(owner, input={"a": 1, "m": 10**16, "b": [1, {"c": 2, "d": 3}]}).execution
    making.active(owner, "2.0")
    Worker.objects.filter(tenant=owner).update(stopped_at=making.LONG_AGO)
    equal = {"b": [1, {"d": 3, "c": 2.0}], "a": 1.0, "m": 1e16}
    again = send(owner, input=equal, expected_release_version="3.0")
    assert (again.execution.pk, again.duplicate, again.execution.release_version) == (first.pk, True, "1.0")
    for other in ({**equal, "a": 2}, {**equal, "a": "1"}, {**equal, "a": True}, [equal], {**equal, "x": None}):
        error = refusal(owner, input=other)
        assert (error.code, error.data) == ("IDEMPOTENCY_KEY_REUSED", {"executionId": str(first.pk)})
    assert making.history(first) == [("SUBMITTED", "QUEUED")]


def test_a_key_is_unique_within_a_pipeline_of_a_tenant_and_compared_exactly(owner: Tenant) -> None:
    making.ready(owner, pipeline_id="org.example.other")
    other, _ = making.ready()
    made = [send(owner, idempotency_key=key) for key in ("k", "K", " k", "k ", "ḱ")]
    made += [send(owner, pipeline_id="org.example.other"), send(other)]
    assert [submission.duplicate for submission in made] == [False] * 7
    assert len({submission.execution.pk for submission in made}) == 7


def test_a_key_names_the_execution_of_the_same_tenant(owner: Tenant) -> None:
    both = [owner, making.ready()[0]]
    first = [making.execution(owner, "k").pk for owner in both]
    assert [send(owner).execution_id for owner in both] == first
    assert [refusal(owner, input={"n": 2}).data["executionId"] for owner in both] == [*map(str, first)]
    making.execution(both[1], "theirs")
    making.silence(*Worker.objects.filter(tenant=owner))
    for value in ({"n": 1}, {"n": 2}):
        admission.cache.clear()
        refused = refusal(owner, idempotency_key="theirs", input=value)
        assert refused.code == "WORKER_UNAVAILABLE", "it learns nothing about the execution of the other tenant"


def test_a_batch_has_a_result_for_each_item_and_inserts_a_repeated_key_once(owner: Tenant) -> None:
    items = [("old", 1), ("new", 1), ("new", 1), ("old", 2)]
    send(owner, idempotency_key="old")
    batch = [ExecutionRequest(making.PIPELINE, {"n": number}, key) for key, number in items]
    results = submit_many(owner, [*batch, ExecutionRequest("none", {}, "k")], actor="token:test")
    answers = [result.code if isinstance(result, CoordinatorError) else result.duplicate for result in results]
    assert answers == [True, False, True, "IDEMPOTENCY_KEY_REUSED", "PIPELINE_UNKNOWN"]
    assert Execution.objects.count() == 2


@cases(
    ("contract", "value", "input_shape", "result_shape"),
    ({}, [{"n": 1}], "UNI", "SINGLE"),
    (MANY, [1, "two", None], "MULTI", "SINGLE"),
    (MANY_TYPED, [{"n": 1}, {"n": 2}], "MULTI", "MATERIALIZED_MULTI"),
    (contract_of("ONE_TO_MANY"), [1], "UNI", "MATERIALIZED_MULTI"),
)
def test_steps_determine_the_shapes(contract: Contract, value: Any, input_shape: str, result_shape: str) -> None:
    execution = send(making.ready(**contract)[0], input=value).execution
    assert (execution.input, execution.input_shape, execution.result_shape) == (value, input_shape, result_shape)


@cases(
    ("contract", "value", "fields"),
    (TYPED, {"n": "one"}, ["input.n"]),
    (TYPED, {"n": 1, "m": 2}, ["input.m"]),
    (TYPED, None, ["input"]),
    (MANY, None, ["input"]),
    (MANY_TYPED, [{"n": 1}, {"n": "x"}, {}], ["input[1].n", "input[2].n"]),
    (MANY_TYPED, [{}] * 1_000, [f"input[{number}].n" for number in range(100)]),
)
def test_an_input_of_a_wrong_type_is_rejected_with_each_path(contract: Contract, value: Any, fields: list[str]) -> None:
    error = refusal(making.ready(**contract)[0], input=value)
    assert (error.code, {problem["code"] for problem in error.errors}) == ("INPUT_INVALID", {"INPUT_TYPE"})
    assert [problem["field"] for problem in error.errors] == fields
    assert len(error.detail) < 1_000


BY: dict[str, Any] = {"actor": "user:ann", "reason": "fixed in 1.1"}


@pytest.fixture
def dead(owner: Tenant) -> Execution:
    [execution] = making.dead(owner, "key")
    return execution


def hosted(owner: Tenant, version: str, **members: Any) -> Release:
    return making.replaced(gradual.candidate(owner, version, **members))


def refuse(error: type[CoordinatorError], owner: Tenant, old: Execution, **members: Any) -> Any:
    return raised(error, resubmit, owner, old.pk, **BY, **members).data


def test_the_new_execution_runs_on_the_active_release_and_the_old_keeps_its_pin(owner: Tenant, dead: Execution) -> None:
    before = Execution.objects.filter(pk=dead.pk).values().get()
    activate(gradual.candidate(owner, "1.1"), actor="user:ann")
    new = resubmit(owner, dead.pk, **BY)
    assert (new.status, new.release_version, new.input) == ("QUEUED", "1.1", dead.input)
    assert (new.submitted_by, new.input_digest) == ("user:ann", dead.input_digest)
    assert Execution.objects.filter(pk=dead.pk).values().get() == {**before, "event_count": before["event_count"] + 1}
    assert making.history(new) == [("SUBMITTED", "QUEUED")]
    versions = {"contractVersion": new.contract_version, "releaseVersion": "1.1"}
    assert new.events.get().data == {**versions, "resubmittedFrom": str(dead.pk)}
    assert making.history(dead)[-1] == ("RESUBMITTED", "DLQ")
    event = dead.events.get(kind="RESUBMITTED")
    data = {**versions, "executionId": str(new.pk), "reason": "fixed in 1.1", "edited": False}
    assert (event.actor, event.data) == ("user:ann", data)
    [link] = queries.links(dead)
    assert (link.resubmission.pk, link.resubmission.edited, link.resubmission.reason) == (new.pk, False, "fixed in 1.1")
    assert (link.status, link.release_version) == ("QUEUED", "1.1")
    assert queries.origin(new) == Resubmission.objects.get(execution=dead)
    assert [claim.execution_id for claim in making.claimed(owner)] == [new.pk]


def test_only_its_tenant_resubmits_what_has_ended_in_its_version(owner: Tenant, dead: Execution, settings: Any) -> None:
    [fatal] = making.dead(owner, "fatal", retryable=False)
    assert resubmit(owner, fatal.pk, **BY).status == "QUEUED"
    queued = making.execution(owner, "queued")
    assert refuse(errors.ResubmitRefused, owner, queued) == {"executionStatus": "QUEUED"}
    making.claimed(owner)
    assert refuse(errors.ResubmitRefused, owner, queued) == {"executionStatus": "RUNNING"}
    assert refuse(errors.VersionMismatch, owner, dead, expected_version=1) == {"currentVersion": 2}
    refuse(errors.ExecutionUnknown, making.tenant(), dead)
    refuse(errors.ExecutionUnknown, owner, Execution(pk=uuid.uuid4()))
    settings.ALLOWED_TENANTS = ["another"]
    refuse(errors.TenantNotAllowed, owner, dead)


def test_a_repeated_operation_key_or_version_returns_the_first_execution(owner: Tenant, dead: Execution) -> None:
    first = resubmit(owner, dead.pk, **BY, operation_key="k")
    assert first.execution_key == f"resubmit:{dead.pk}:k"
    with unchanged():
        assert resubmit(owner, dead.pk, **BY, operation_key="k") == first
        assert resubmit(owner, dead.pk, **BY, operation_key="k", release_version="1.0") == first
    again = partial(resubmit, owner, dead.pk, **BY, allow_replaced=True)
    by_version = again(expected_version=2)
    assert again(expected_version=2) == by_version
    new = {first.pk, by_version.pk, *(again().pk for _ in range(3))}
    assert len(new) == 5, "without a key every call creates an execution"
    assert {link.resubmission.pk for link in queries.links(dead)} == new


def test_a_key_is_not_reused_for_another_resubmission_or_submission(owner: Tenant, dead: Execution) -> None:
    hosted(owner, "1.1")
    first = resubmit(owner, dead.pk, **BY, operation_key="k")
    changed: list[dict[str, Any]] = [{"input": {"n": 2}}, {"release_version": "1.1"}]
    for changes in changed:
        data = refuse(errors.ResubmitKeyReused, owner, dead, operation_key="k", **changes)
        assert data == {"executionId": str(first.pk)}
    other = making.execution(owner, f"resubmit:{dead.pk}:other")
    assert refuse(errors.IdempotencyKeyReused, owner, dead, operation_key="other") == {"executionId": str(other.pk)}


def test_resubmissions_are_found_by_the_first_business_key(owner: Tenant, django_assert_num_queries: Any) -> None:
    [first] = making.dead(owner, "4711")
    second = resubmit(owner, first.pk, **BY)
    [claim] = making.claimed(owner)
    making.record(making.failure(claim))
    third = resubmit(owner, second.pk, **BY)
    longer, foreign = making.execution(owner, "47110"), making.execution(owner, f"resubmit:{first.pk}:by-a-caller")
    chain, others = {first.pk, second.pk, third.pk}, [longer, foreign]

    def matches(**conditions: Any) -> set[uuid.UUID]:
        return {execution.pk for execution in matching([owner], Search(**conditions)).newest(10)}

    rows = list(Execution.objects.all())
    expected = {**dict.fromkeys(chain, "4711"), **{row.pk: row.execution_key for row in others}}
    with django_assert_num_queries(1):
        read_business_keys(rows)
        assert {row.pk: row.business_key for row in rows} == expected
    with django_assert_num_queries(0):
        read_business_keys([first, longer])
    found = [matches(business_key=key) for key in ("4711", second.execution_key, "471")]
    assert found == [chain, chain - {first.pk}, set()]
    assert matches(text="4711") == matches(text="471") == chain | {longer.pk}
    assert matches(text="4711", pipeline_id="another") == set()
    assert matches(text=third.execution_key) == {third.pk}
    making.copies(longer, MOST_RARE + 1)
    assert len(matches(text="k")) == 10

    Tenant.objects.filter(pk=owner.pk).update(failed_retention_days=30)
    making.aged(first, days=31)
    assert retention.remove(seconds=60) == 1
    assert Execution.objects.get(pk=third.pk).business_key == second.execution_key


def test_a_named_release_was_active_before(owner: Tenant, dead: Execution) -> None:
    hosted(owner, "1.1")
    gradual.candidate(owner, "2.0")
    data = refuse(ReleaseNotOpen, owner, dead, release_version="2.0")
    assert data == {"activeReleaseVersion": "1.0", "mayOpen": True}
    assert resubmit(owner, dead.pk, **BY, release_version="1.1").release_version == "1.1"
    assert making.execution(owner, "ordinary").release_version == "1.0"
    cached = admission.cached(owner, making.PIPELINE)
    assert cached is None or cached.release.release_version == "1.0"
    revoke(dead.release, actor="user:ann", reason="leaked")
    assert refuse(NoActiveRelease, owner, dead, allow_replaced=True)["revocationReason"] == "leaked"
    assert resubmit(owner, dead.pk, **BY, release_version="1.1", allow_replaced=True).release_version == "1.1"


def test_a_release_that_accepts_no_executions_is_refused(owner: Tenant, dead: Execution) -> None:
    revoke(hosted(owner, "1.1"), actor="user:ann", reason="leaked")
    making.replaced(making.registered(owner, "1.2"))
    hosted(owner, "1.5", schemaVersion=2, canonicalTypes=order("n", "m"))
    refuse(errors.ReleaseNotAdmitted, owner, dead, release_version="1.1")
    refuse(errors.WorkerUnavailable, owner, dead, release_version="1.2")
    refuse(errors.InputInvalid, owner, dead, release_version="1.5")
    refuse(ReleaseUnknown, owner, dead, release_version="2.0")
    holds.pause(dead.release, actor="user:eva", reason="broken", refuses_submissions=True)
    refuse(errors.PipelinePaused, owner, dead)


def test_a_repeated_key_says_that_the_new_execution_was_removed(owner: Tenant, dead: Execution) -> None:
    first = resubmit(owner, dead.pk, **BY, operation_key="k")
    cancel(owner, first.pk, actor="user:ann", reason="")
    Tenant.objects.filter(pk=owner.pk).update(retention_days=1)
    making.aged(first, days=2)
    assert retention.remove(seconds=5) == 1
    assert refuse(errors.ResubmissionRemoved, owner, dead, operation_key="k") == {"executionId": str(first.pk)}


@cases(("value", "edited"), [({"n": 2}, True), ({"n": 1}, False), (None, True), ([], True)])
def test_an_edited_input_may_be_any_value(owner: Tenant, dead: Execution, value: Any, edited: bool) -> None:
    new = resubmit(owner, dead.pk, **BY, input=value)
    assert (new.input, new.input_shape) == (value, "UNI")
    assert Resubmission.objects.get().edited == dead.events.get(kind="RESUBMITTED").data["edited"] == edited
    assert making.reread(dead).input == {"n": 1}


@cases(("changes", "kept"), [({}, True), ({"input": {"n": 2}}, False), ({"release_version": "1.1"}, False)])
def test_typed_payloads_are_kept_with_unchanged_input(owner: Tenant, changes: dict[str, Any], kept: bool) -> None:
    hosted(owner, "1.1", steps=[{**making.STEP, "inputTypeId": "Invoice"}])
    document = {"shape": "UNI", "payload": {"payloadTypeId": "Order"}}
    submitted = send(owner, wire_input=document)
    cancel(owner, submitted.execution_id, actor="user:ann", reason="")
    new = resubmit(owner, submitted.execution_id, **BY, **changes)
    assert list(WireForm.objects.filter(pk=new.pk).values_list("input", flat=True)) == ([document] if kept else [])


# --- digests of inputs ---

SMALL = st.integers(-3, 3) | st.integers(-3, 3).map(float)
POWERS = st.integers(0, 308).flatmap(lambda exponent: st.sampled_from([10**exponent, float(f"1e{exponent}")]))
NUMBERS = SMALL | POWERS | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=2)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=150)
@given(JSON, JSON)
@example(1, 1.0)
@example(1, True)
@example(0, -0.0)
@example(10**16, 1e16)
@example(10**23, 1e23)
@example(2**53 + 1, float(2**53))
@example({"a": 1, "b": [2.0]}, {"b": [2], "a": 1.0})
@example(0.1, 0.1 + 2**-55)
def test_digests_are_equal_if_and_only_if_jsonb_values_are(value: Any, other: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::jsonb = %s::jsonb", [json.dumps(value), json.dumps(other)])
        [same] = cursor.fetchone()
    assert json_writer.equal(value, other) is same
    assert (json_writer.digest(value) == json_writer.digest(other)) is same
