"""An execution that has ended is resubmitted as a new execution, linked both ways. The old one keeps its pin."""

import uuid
from typing import Any

import pytest

from executions.errors import (
    ExecutionUnknown,
    IdempotencyKeyReused,
    InputInvalid,
    ReleaseNotAdmitted,
    ResubmitKeyReused,
    ResubmitRefused,
    TenantNotAllowed,
    VersionMismatch,
    WorkerUnavailable,
)
from executions.lifecycle import outcome
from executions.lifecycle.cancellation import cancel
from executions.lifecycle.retention import remove
from executions.models import Execution, ExecutionEvent, Resubmission, WireForm
from executions.submission import admission, resubmission
from executions.submission.resubmission import resubmit
from executions.submission.submission import submit
from foundation.errors import CoordinatorError
from releases.activation.activation import activate
from releases.activation.revocation import revoke
from releases.errors import NoActiveRelease, ReleaseUnknown
from releases.models import Pipeline, Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.raw_sql import rows
from wire.messages.celery_messages import OutcomeGroup

pytestmark = pytest.mark.django_db
BY: dict[str, Any] = {"actor": "user:ann", "reason": "fixed in 1.1"}
NARROW: dict[str, Any] = {
    "schemaVersion": 2,
    "canonicalTypes": {
        "Order": {
            "definition": {
                "id": "Order",
                "kind": "record",
                "fields": [
                    {"name": name, "type": {"kind": "scalar", "id": "integer"}, "optional": False} for name in "nm"
                ],
            }
        }
    },
}
"""A contract whose first step requires one more field than the others."""


@pytest.fixture
def owner() -> Tenant:
    return making.ready()[0]


@pytest.fixture
def dead(owner: Tenant) -> Execution:
    [execution] = making.dead(owner, "key")
    return execution


def release(owner: Tenant, version: str, **members: Any) -> Release:
    """Return a registered release that is not active, with a healthy worker."""
    made = making.registered(owner, version, **members)
    making.worker(Release.objects.select_related("pipeline__tenant").get(pk=made.pk), f"worker-{version}")
    return made


def everything() -> list[Any]:
    return [rows(model) for model in (Execution, ExecutionEvent, Resubmission, WireForm)]


def test_the_new_execution_runs_on_the_active_release_and_the_old_one_keeps_its_pin(
    owner: Tenant, dead: Execution
) -> None:
    before = Execution.objects.filter(pk=dead.pk).values().get()
    activate(release(owner, "1.1"), actor="user:ann")
    new = resubmit(owner, dead.pk, **BY)
    assert (new.status, new.release_version, new.input) == ("QUEUED", "1.1", dead.input)
    assert (new.submitted_by, new.input_digest) == ("user:ann", dead.input_digest)
    assert Execution.objects.filter(pk=dead.pk).values().get() == {**before, "event_count": before["event_count"] + 1}
    assert making.history(new) == [("SUBMITTED", "QUEUED")]
    assert new.events.get().data == {
        "contractVersion": new.contract_version,
        "releaseVersion": "1.1",
        "resubmittedFrom": str(dead.pk),
    }
    assert making.history(dead)[-1] == ("RESUBMITTED", "DLQ")
    event = dead.events.get(kind="RESUBMITTED")
    assert event.actor == "user:ann"
    assert event.data == {
        "executionId": str(new.pk),
        "releaseVersion": "1.1",
        "contractVersion": new.contract_version,
        "reason": "fixed in 1.1",
        "edited": False,
    }
    [link] = resubmission.links(dead)
    assert (link.resubmission.pk, link.resubmission.edited, link.resubmission.reason) == (new.pk, False, "fixed in 1.1")
    assert (link.status, link.release_version) == ("QUEUED", "1.1")
    origin = resubmission.origin(new)
    assert origin is not None
    assert origin.execution_id == dead.pk
    assert {claim.execution_id for claim in making.claimed(owner)} == {new.pk}


def ended(owner: Tenant, status: str) -> Execution:
    execution = making.execution(owner, "key")
    if status == "CANCELLED":
        return cancel(owner, execution.pk, actor="user:ann", reason="")
    Pipeline.objects.filter(tenant=owner).update(retry_limit=0)
    [claim] = making.claimed(owner)
    report = making.outcome_of(claim) if status == "SUCCEEDED" else making.failure(claim, retryable=status == "DLQ")
    assert outcome.record(execution.release.identity, OutcomeGroup(worker_id="w", outcomes=[report])) == 1
    execution.refresh_from_db()
    return execution


@cases("status", ["SUCCEEDED", "FAILED", "DLQ", "CANCELLED"])
def test_an_execution_that_has_ended_is_resubmitted(owner: Tenant, status: str) -> None:
    old = ended(owner, status)
    assert old.status == status
    assert resubmit(owner, old.pk, **BY).status == "QUEUED"
    old.refresh_from_db()
    assert old.status == status


def test_an_open_execution_is_refused(owner: Tenant) -> None:
    queued = making.execution(owner, "queued")
    before = everything()
    with pytest.raises(ResubmitRefused) as caught:
        resubmit(owner, queued.pk, **BY)
    assert caught.value.data == {"executionStatus": "QUEUED"}
    assert everything() == before
    making.claimed(owner)
    with pytest.raises(ResubmitRefused):
        resubmit(owner, queued.pk, **BY)


def test_another_version_than_the_expected_one_is_refused(owner: Tenant, dead: Execution) -> None:
    before = everything()
    with pytest.raises(VersionMismatch) as caught:
        resubmit(owner, dead.pk, **BY, expected_version=1)
    assert caught.value.data == {"currentVersion": 2}
    assert everything() == before


# --- keys ---


def test_a_repeated_operation_key_returns_the_first_execution(owner: Tenant, dead: Execution) -> None:
    first = resubmit(owner, dead.pk, **BY, operation_key="k")
    before = everything()
    assert resubmit(owner, dead.pk, **BY, operation_key="k") == first
    assert resubmit(owner, dead.pk, **BY, operation_key="k", release_version="1.0") == first
    assert everything() == before
    assert first.execution_key == f"resubmit:{dead.pk}:k"


def test_a_repeated_expected_version_returns_the_first_execution(owner: Tenant, dead: Execution) -> None:
    first = resubmit(owner, dead.pk, **BY, expected_version=2)
    assert resubmit(owner, dead.pk, **BY, expected_version=2) == first


def test_without_a_key_every_call_creates_an_execution(owner: Tenant, dead: Execution) -> None:
    new = {resubmit(owner, dead.pk, **BY).pk for _ in range(3)}
    assert len(new) == 3
    assert {link.resubmission.pk for link in resubmission.links(dead)} == new


@cases("changes", [{"input": {"n": 2}}, {"release_version": "1.1"}])
def test_a_key_is_not_reused_for_another_resubmission(owner: Tenant, dead: Execution, changes: dict[str, Any]) -> None:
    release(owner, "1.1")
    first = resubmit(owner, dead.pk, **BY, operation_key="k")
    before = everything()
    with pytest.raises(ResubmitKeyReused) as caught:
        resubmit(owner, dead.pk, **BY, operation_key="k", **changes)
    assert caught.value.data == {"executionId": str(first.pk)}
    assert everything() == before


def test_the_key_of_an_ordinary_submission_is_not_taken(owner: Tenant, dead: Execution) -> None:
    other = making.execution(owner, f"resubmit:{dead.pk}:k")
    before = everything()
    with pytest.raises(IdempotencyKeyReused) as caught:
        resubmit(owner, dead.pk, **BY, operation_key="k")
    assert caught.value.data == {"executionId": str(other.pk)}
    assert everything() == before


# --- releases ---


def test_a_named_release_need_not_be_active(owner: Tenant, dead: Execution) -> None:
    release(owner, "1.1")
    assert resubmit(owner, dead.pk, **BY, release_version="1.1").release_version == "1.1"
    assert making.execution(owner, "ordinary").release_version == "1.0"
    cached = admission.cached(owner, making.PIPELINE)
    assert cached is None or cached.release.release_version == "1.0"


def test_a_named_release_is_possible_in_a_pipeline_that_accepts_no_submissions(owner: Tenant, dead: Execution) -> None:
    release(owner, "1.1")
    revoke(dead.release, actor="user:ann", reason="leaked")
    before = everything()
    with pytest.raises(NoActiveRelease):
        resubmit(owner, dead.pk, **BY)
    assert everything() == before
    assert resubmit(owner, dead.pk, **BY, release_version="1.1").release_version == "1.1"


def test_a_release_that_accepts_no_executions_is_refused(owner: Tenant, dead: Execution) -> None:
    revoke(release(owner, "1.1"), actor="user:ann", reason="leaked")
    making.registered(owner, "1.2")
    making.registered(owner, "1.3", pipeline_id="org.example.other")
    contract = making.contract()
    data = making.archive(contract, code="unverified")
    making.upload(owner, making.descriptor(contract, data, "1.4"), data)
    before = everything()
    refused: dict[str, type[CoordinatorError]] = {
        "1.1": ReleaseNotAdmitted,
        "1.2": WorkerUnavailable,
        "1.3": ReleaseUnknown,
        "1.4": ReleaseNotAdmitted,
        "2.0": ReleaseUnknown,
    }
    for version, error in refused.items():
        with pytest.raises(error):
            resubmit(owner, dead.pk, **BY, release_version=version)
    assert everything() == before


# --- inputs ---


def test_an_edited_input_replaces_the_old_one(owner: Tenant, dead: Execution) -> None:
    new = resubmit(owner, dead.pk, **BY, input={"n": 2})
    assert (new.input, new.input_shape) == ({"n": 2}, "UNI")
    assert Resubmission.objects.get().edited
    assert dead.events.get(kind="RESUBMITTED").data["edited"]
    dead.refresh_from_db()
    assert dead.input == {"n": 1}


def test_an_equal_input_is_not_edited(owner: Tenant, dead: Execution) -> None:
    new = resubmit(owner, dead.pk, **BY, input={"n": 1})
    assert not Resubmission.objects.get().edited
    assert new.input == {"n": 1}


@cases("value", [None, False, 0, "", [], {}])
def test_an_edited_input_may_be_any_value(owner: Tenant, dead: Execution, value: Any) -> None:
    assert resubmit(owner, dead.pk, **BY, input=value).input == value


def test_the_input_is_checked_against_the_release_that_gets_it(owner: Tenant, dead: Execution) -> None:
    release(owner, "1.1", **NARROW)
    before = everything()
    changed: list[dict[str, Any]] = [{}, {"input": {"n": 1}}, {"input": {"n": 1, "m": "x"}}]
    for changes in changed:
        with pytest.raises(InputInvalid) as caught:
            resubmit(owner, dead.pk, **BY, release_version="1.1", **changes)
        [error] = caught.value.errors
        assert (error["field"], error["code"]) == ("input.m", "INPUT_TYPE")
    assert everything() == before
    assert resubmit(owner, dead.pk, **BY, release_version="1.1", input={"n": 1, "m": 2}).release_version == "1.1"


@cases(("changes", "kept"), [({}, True), ({"input": {"n": 1}}, True), ({"input": {"n": 2}}, False)])
def test_typed_payloads_are_kept_with_an_unchanged_input(owner: Tenant, changes: dict[str, Any], kept: bool) -> None:
    document = {"shape": "UNI", "payload": {"payloadTypeId": "Order"}}
    submitted = submit(
        owner, pipeline_id=making.PIPELINE, input={"n": 1}, idempotency_key="k", actor="x", wire_input=document
    )
    cancel(owner, submitted.execution_id, actor="user:ann", reason="")
    new = resubmit(owner, submitted.execution_id, **BY, **changes)
    assert list(WireForm.objects.filter(pk=new.pk).values_list("input", flat=True)) == ([document] if kept else [])


def test_typed_payloads_are_not_kept_by_a_release_with_another_input_type(owner: Tenant) -> None:
    release(owner, "1.1", steps=[{**making.STEP, "inputTypeId": "Invoice"}])
    submitted = submit(
        owner, pipeline_id=making.PIPELINE, input={"n": 1}, idempotency_key="k", actor="x", wire_input={"shape": "UNI"}
    )
    cancel(owner, submitted.execution_id, actor="user:ann", reason="")
    new = resubmit(owner, submitted.execution_id, **BY, release_version="1.1")
    assert not WireForm.objects.filter(pk=new.pk).exists()


# --- tenants ---


def test_an_execution_of_another_tenant_is_like_an_unknown_one(dead: Execution) -> None:
    stranger = making.ready()[0]
    before = everything()
    for execution_id in (dead.pk, uuid.uuid4()):
        with pytest.raises(ExecutionUnknown):
            resubmit(stranger, execution_id, **BY)
    assert everything() == before


def test_a_tenant_that_is_not_allowed_resubmits_nothing(owner: Tenant, dead: Execution, settings: Any) -> None:
    settings.ALLOWED_TENANTS = ["another"]
    before = everything()
    with pytest.raises(TenantNotAllowed):
        resubmit(owner, dead.pk, **BY)
    assert everything() == before


# --- retention ---


def test_the_link_is_removed_with_the_old_execution(owner: Tenant, dead: Execution) -> None:
    new = resubmit(owner, dead.pk, **BY)
    making.aged(dead, days=2)
    Tenant.objects.filter(pk=owner.pk).update(failed_retention_days=1)
    assert remove(seconds=10) == 1
    assert not Resubmission.objects.exists()
    assert resubmission.origin(new) is None
    assert new.events.get().data["resubmittedFrom"] == str(dead.pk)


def test_the_link_names_a_new_execution_that_was_removed(owner: Tenant, dead: Execution) -> None:
    new = resubmit(owner, dead.pk, **BY, operation_key="k")
    making.aged(cancel(owner, new.pk, actor="user:ann", reason=""), days=2)
    Tenant.objects.filter(pk=owner.pk).update(retention_days=1)
    assert remove(seconds=10) == 1
    [link] = resubmission.links(dead)
    assert (link.resubmission.pk, link.status, link.release_version) == (new.pk, "", "")
    before = everything()
    with pytest.raises(ExecutionUnknown):
        resubmit(owner, dead.pk, **BY, operation_key="k")
    assert everything() == before
