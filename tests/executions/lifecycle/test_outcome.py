import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from executions.awaits import questions
from executions.lifecycle import queries
from executions.models import AwaitUnit, Execution, Interaction
from executions.state_machine.moves import Claim
from executions.workers import registry
from releases.models import Release
from releases.trust import trust
from tenancy.models import Tenant
from tests import making, signing
from tests.cases import cases
from tests.executions.moments import now
from tests.raw_sql import rows
from wire.documents import execution_statement, json_writer
from wire.documents.json_reader import DEEPEST, MOST_VALUES
from wire.documents.json_writer import text
from wire.documents.signing import read_envelope
from wire.messages.celery_messages import Failure, Heartbeat, HeldLease, Outcome

pytestmark = pytest.mark.usefixtures("retries")


def test_a_success_ends_the_execution_with_its_result(claim: Claim, execution: Execution) -> None:
    done = making.outcome_of(claim, output_payloads=['{"n": 2}'])
    assert making.record(done, worker_id="worker-1") == 1
    assert making.history(execution)[-1] == ("SUCCEEDED", "SUCCEEDED")
    assert (execution.version, execution.result, queries.result(execution)) == (2, [{"n": 2}], {"n": 2})
    assert execution.finished_at is not None
    assert (execution.lease_owner, execution.lease_token, execution.lease_expires_at) == (None, None, None)
    event = execution.events.get(kind="SUCCEEDED")
    assert event.data["transitionKey"] == execution.last_transition_key == f"{execution.pk}:0:0"
    assert (event.actor, event.data["attempt"], event.data["worker"]) == ("worker:worker-1", 0, "worker-1")


def test_a_failure_waits_longer_each_time_until_retries_are_spent(owner: Tenant, execution: Execution) -> None:
    delays = []
    for attempt in range(3):
        [claim] = making.claimed(owner)
        assert claim.attempt == attempt
        making.record(making.failure(claim, f"Error{attempt}"))
        assert (making.reread(execution).error_code, execution.error_message) == (f"Error{attempt}", "why")
        assert execution.last_transition_key == f"{execution.pk}:0:{attempt}"
        if execution.status == "WAIT_RETRY":
            delays.append((execution.next_due_at - execution.updated_at).total_seconds())
            assert making.claimed(owner) == []
            Execution.objects.update(next_due_at=making.LONG_AGO)
    assert delays == [10, 20]
    assert (execution.status, execution.attempt, execution.finished_at is None) == ("DLQ", 2, False)
    assert making.kinds(execution) == ["SUBMITTED", *["CLAIMED", "RETRY_SCHEDULED"] * 2, "CLAIMED", "RETRIES_EXHAUSTED"]
    retries = execution.events.filter(kind="RETRY_SCHEDULED").values_list("data__delaySeconds", "data__errorCode")
    assert list(retries) == [(10, "Error0"), (20, "Error1")]


@cases(
    ("code", "message", "stored"),
    ("E" * 150, "😀" * 600, ("E" * 100, "😀" * 512)),
    ("a\x00b", "c\x00d", ("a\ufffdb", "c\ufffdd")),
    ("", "", ("UNKNOWN", "")),
)
def test_errors_are_cut_and_cleaned(claim: Claim, execution: Execution, code: str, message: str, stored: Any) -> None:
    failure = Failure(failure_class=code, message=message, retryable=False, traceback="Trace\0\n" + "x" * 5_000)
    making.record(making.outcome_of(claim, "FAILED", failure=failure))
    assert making.history(execution)[-1] == ("FAILED", "FAILED")
    assert (execution.attempt, execution.error_code, execution.error_message) == (0, *stored)
    assert execution.events.get(kind="FAILED").data["traceback"] == "Trace\ufffd\n" + "x" * 3_993


OTHER_LEASE = {"lease_token": uuid.uuid4()}


@cases(
    ("wrong", "outcome_of", "status"),
    ({"execution_version": 0}, making.outcome_of, "SUCCEEDED"),
    (OTHER_LEASE, making.failure, "WAIT_RETRY"),
    (OTHER_LEASE, making.suspension, "WAITING_EXTERNAL"),
)
def test_outcomes_under_another_lease_are_dropped_and_recorded_as_events_in_their_order(
    claim: Claim, execution: Execution, wrong: dict[str, Any], outcome_of: Callable[[Claim], Outcome], status: str
) -> None:
    [before] = rows(Execution)
    right = outcome_of(claim)
    late = [right.model_copy(update={"transition_key": key, **wrong}) for key in ("first", "second")]
    assert [making.record(outcome) for outcome in late] == [0, 0]
    assert making.record(*(outcome.model_copy(update={"lease_token": uuid.uuid4()}) for outcome in late)) == 0
    assert rows(Execution) == [{**before, "event_count": before["event_count"] + 4}]
    events = execution.events.filter(kind="OUTCOME_DROPPED").order_by("sequence")
    assert [event.data["transitionKey"] for event in events] == ["first", "second", "first", "second"]
    recorded = {(event.actor, event.data["reason"], event.data["outcome"]) for event in events}
    assert (recorded, AwaitUnit.objects.exists()) == ({("worker:w", "lease lost", status)}, False)
    assert making.record(right) == 1


HALF = "[" + "0," * (MOST_VALUES // 2) + "0]"


@cases(
    "outputs",
    ["1", "{"],
    ['{"a\\u0000": 1}'],
    ['["\\ud800"]'],
    ["1e999"],
    ["[" * (DEEPEST + 1) + "]" * (DEEPEST + 1)],
    [HALF, HALF],
)
def test_unstorable_outputs_fail_the_execution(claim: Claim, execution: Execution, outputs: list[str]) -> None:
    assert making.record(making.outcome_of(claim, output_payloads=outputs)) == 1
    assert (making.reread(execution).status, execution.error_code) == ("FAILED", "UNDECODABLE_OUTPUT")
    assert execution.error_message


@cases("value", [None, "\\u0000", "é 😀 \u2028", 10**400, -1e-7, {"": {"": []}}])
def test_an_output_is_returned_unchanged(claim: Claim, execution: Execution, value: Any) -> None:
    making.record(making.outcome_of(claim, output_payloads=[json.dumps(value)]))
    assert making.reread(execution).status == "SUCCEEDED"
    assert json.dumps(queries.result(execution)) == json.dumps(value)


@cases(
    ("cardinality", "outputs", "status", "result"),
    ("ONE_TO_ONE", [], "SUCCEEDED", None),
    ("ONE_TO_ONE", ["1", "2"], "WAIT_RETRY", "RESULT_SHAPE_MISMATCH"),
    ("ONE_TO_MANY", [], "SUCCEEDED", []),
    ("ONE_TO_MANY", ["1", "null", "[2]"], "SUCCEEDED", [1, None, [2]]),
)
def test_a_single_result_has_at_most_one_value(cardinality: str, outputs: list[str], status: str, result: Any) -> None:
    owner, _ = making.ready(steps=[{**making.STEP, "cardinality": cardinality}])
    execution = making.execution(owner)
    making.record(making.outcome_of(making.claimed(owner)[0], output_payloads=outputs))
    assert (making.reread(execution).status, execution.error_code or queries.result(execution)) == (status, result)


@cases(
    ("late", "again", "recorded"),
    ("COMPLETED", False, ["LEASE_RESTORED", "SUCCEEDED"]),
    ("COMPLETED", True, ["CLAIMED", "LEASE_RESTORED", "SUCCEEDED"]),
    ("FAILED", False, ["LEASE_RESTORED", "RETRY_SCHEDULED"]),
    ("FAILED", True, ["CLAIMED", "OUTCOME_DROPPED"]),
)
def test_an_outcome_whose_lease_was_lost_is_recorded_once_unless_another_was_or_a_retry_runs(
    owner: Tenant, claim: Claim, execution: Execution, late: str, again: bool, recorded: list[str]
) -> None:
    making.lose_lease(claim)
    successors = making.claimed(owner) if again else []
    outcome = making.failure(claim) if late == "FAILED" else making.outcome_of(claim)
    assert making.record(outcome) == (recorded[-1] != "OUTCOME_DROPPED")
    assert making.kinds(execution)[3:] == recorded
    repeated = making.record(outcome, *map(making.outcome_of, successors))
    assert repeated == (1 if late == "FAILED" and again else 0)


def test_no_earlier_lease_comes_back_after_an_outcome(owner: Tenant, claim: Claim, execution: Execution) -> None:
    making.lose_lease(claim)
    [successor] = making.claimed(owner)
    making.record(making.failure(successor))
    Execution.objects.update(next_due_at=making.LONG_AGO)
    making.claimed(owner)
    assert making.record(making.outcome_of(claim)) == 0
    assert making.kinds(execution)[-1] == "OUTCOME_DROPPED"


def test_a_lease_whose_loss_the_worker_knows_never_comes_back(owner: Tenant, release: Release, claim: Claim) -> None:
    """Its step may have been cancelled, and may have returned anything."""
    making.lose_lease(claim)
    lease = HeldLease(execution_id=claim.execution_id, lease_token=claim.lease_token, seconds=2)
    heartbeat = Heartbeat(worker_id="w", state="HEALTHY", capacity=1, running=[lease])
    registry.take_heartbeat(owner, release.identity, heartbeat, now())
    assert making.record(making.outcome_of(claim)) == 0


OTHER = making.digest_of(b"another artifact")
FOREVER = 2**53 - 1


def statement(execution: Execution) -> dict[str, Any]:
    document = queries.provenance_statement(Execution.objects.select_related("tenant").get(pk=execution.pk))
    assert execution_statement.read(text(document).encode()).contradictions() == []
    return document


def spans(count: int, first: int = 0) -> list[tuple[int, int, int]]:
    """Return the spans of the steps from `first` to `count`, exclusive. They run now."""
    at = int(time.time() * 1000)
    return [(step, at, at) for step in range(first, count)]


def test_a_run_with_retries_on_two_workers_names_both_and_counts_each_step_once() -> None:
    owner, release = making.checkpointing(3)
    digest = release.artifacts.get().digest
    execution = making.execution(owner)

    def report(number: int, *outcomes: Outcome, **more: Any) -> None:
        by: dict[str, Any] = {"artifact_digest": digest, "environment": "e", "code": "source"}
        making.record(*outcomes, worker_id=f"worker-{number}", **by, **more)
        Execution.objects.filter(status="WAIT_RETRY").update(next_due_at=making.LONG_AGO)

    [claim] = making.claimed(owner)
    for step in (1, 2):
        report(1, checkpoints=[making.reached(claim, step, "1", steps=spans(step))])
    report(1, making.failure(claim).model_copy(update={"steps": spans(3)}))
    for number, ends in ((2, making.failure), (1, making.outcome_of)):
        [claim] = making.claimed(owner)
        report(number, ends(claim).model_copy(update={"steps": spans(3, first=2)}))
    proven = statement(execution)["predicate"]
    assert [(run["outcome"], run["attempt"], run["worker"], run["firstStepIndex"]) for run in proven["runs"]] == [
        ("CHECKPOINT", 0, "worker-1", 0),
        ("CHECKPOINT", 0, "worker-1", 1),
        ("RETRY_SCHEDULED", 0, "worker-1", 2),
        ("RETRY_SCHEDULED", 1, "worker-2", 2),
        ("SUCCEEDED", 2, "worker-1", 2),
    ]
    for index, run in zip([0, 1, 2, 2, 2], proven["runs"], strict=True):
        assert (run["artifactDigest"], run["pinned"]) == (digest, True)
        assert (run["code"], run["findings"]) == ("source", ["CODE_NOT_VERIFIED"])
        [step] = run["steps"]
        assert (step["index"], step["name"]) == (index, "Validate")
        assert run["claimedAt"] <= run["recordedAt"]
        assert run["startedAt"] == step["startedAt"] <= step["endedAt"] == run["endedAt"]
    assert proven["pinnedThroughout"] is False
    together = making.execution(owner, "together")
    [claim] = making.claimed(owner)
    kept = [making.reached(claim, step, "1", steps=spans(step)) for step in (1, 2)]
    report(1, making.outcome_of(claim, steps=spans(3)), checkpoints=kept)
    events = together.events.filter(data__has_key="worker").order_by("sequence")
    assert [[index for index, *_ in event.data["steps"]] for event in events] == [[0, 1], [2]], "the newest has all"


def test_the_subject_is_the_artifact_and_no_value_is_disclosed(owner: Tenant, release: Release) -> None:
    execution = making.execution(owner, "a-key-of-a-client", 4321)
    making.record(making.suspension(making.claimed(owner)[0], "4322"))
    [question] = Interaction.objects.filter(execution=execution)
    questions.answer(owner, question_id=question.pk, response={"n": 8765}, actor="user:anna")
    [artifact] = release.artifacts.all()
    done = making.outcome_of(making.claimed(owner)[0], output_payloads=["8766"])
    making.record(done, artifact_digest=artifact.digest)
    document = statement(execution)
    digest = {"sha256": artifact.digest.removeprefix("sha256:")}
    assert document["subject"] == [{"name": artifact.artifact_id, "digest": digest, "annotations": {"pinned": True}}]
    proven = document["predicate"]
    assert proven["execution"]["inputDigest"] == {"sha256": json_writer.digest(4321)}
    assert proven["execution"]["resultDigest"] == {"sha256": json_writer.digest(8766)}
    assert proven["pin"]["releaseDigest"] == {"sha256": json_writer.digest(release.descriptor)}
    [waited] = proven["awaits"]
    assert (waited["stepIndex"], waited["status"], waited["answered"]) == (0, "COMPLETED", 1)
    [answer] = waited["answers"]
    assert (answer["interactionId"], answer["actor"]) == (str(question.pk), "user:anna")
    for value in ("4322", "8765", execution.execution_key):
        assert value not in json.dumps(document)


def test_the_worst_report_is_kept_as_reported_and_not_believed(execution: Execution, claim: Claim) -> None:
    done = making.outcome_of(claim, steps=[(2**31 - 1, FOREVER, 0), (0, 0, 1), (0, 0, 1)])
    assert making.record(done, artifact_digest=OTHER, environment="sha256:" + "e" * 64) == 1
    proven = statement(execution)["predicate"]
    [run] = proven["runs"]
    assert (run["artifactDigest"], run["pinned"], proven["pinnedThroughout"]) == (OTHER, False, False)
    assert run["findings"] == ["ARTIFACT_NOT_PINNED", "TIMES_IMPLAUSIBLE", "STEP_UNKNOWN"]
    assert [(step["index"], step["name"], step["startedAt"]) for step in run["steps"]] == [
        (2**31 - 1, None, None),
        (0, "Validate", "1970-01-01T00:00:00.000Z"),
    ]


@cases(("members", "throughout"), [({"code": "artifact"}, True), ({}, True), ({"code": "source"}, False)])
def test_only_code_from_pinned_artifacts_is_pinned_throughout(
    release: Release, execution: Execution, claim: Claim, members: dict[str, Any], throughout: bool
) -> None:
    digest = release.artifacts.get().digest
    making.record(
        making.outcome_of(claim), artifact_digest=digest, environment="e", durable_pipelines="0.2.0", **members
    )
    proven = statement(execution)["predicate"]
    assert [run["durablePipelines"] for run in proven["runs"]] == ["0.2.0"]
    assert proven["pinnedThroughout"] is throughout
    assert proven["runs"][0]["findings"] == ([] if throughout else ["CODE_NOT_VERIFIED"])


def test_a_signed_document_is_the_same_every_time_and_valid(execution: Execution, claim: Claim, settings: Any) -> None:
    making.record(making.outcome_of(claim))
    settings.PROVENANCE_KEY = signing.private_pem("coordinator")
    document, again = (queries.signed_provenance(making.reread(execution)) for _ in range(2))
    assert document == again
    envelope = read_envelope(json.loads(document))
    [signature] = envelope.signatures
    assert envelope.is_signed_by(trust.statement_public_key(), signature)
    assert json.loads(envelope.payload) == queries.provenance_statement(execution)
