"""The provenance of an execution names the code of every part, also of parts that differ or did not report."""

import json
from typing import Any

import pytest

from executions import tasks
from executions.awaits import interactions
from executions.lifecycle import provenance
from executions.models import Execution, Interaction
from executions.state_machine.moves import Claim
from releases.models import Release
from releases.trust import statement_key
from tests import making, signing
from tests.cases import cases
from tests.executions.hosting import ASKS, FAILS_TWICE, MARKS, ONE, Hosting
from wire.documents import execution_statement, json_values
from wire.documents.json_writer import text
from wire.documents.signing import read_envelope

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("retries")]
OTHER = making.digest_of(b"another artifact")
FOREVER = 2**53 - 1


def statement(execution: Execution) -> dict[str, Any]:
    """Return the execution's statement, which must be readable and must not contradict itself."""
    document = provenance.statement(Execution.objects.select_related("tenant").get(pk=execution.pk))
    assert execution_statement.read(text(document).encode()).contradictions() == []
    return document


def predicate(execution: Execution) -> dict[str, Any]:
    found: dict[str, Any] = statement(execution)["predicate"]
    return found


def test_a_run_with_retries_on_two_workers_names_both_and_counts_each_step_once(hosting: Hosting) -> None:
    hosted = hosting(MARKS, MARKS, FAILS_TWICE)
    execution = hosted.submit(1)
    for host in (hosted.host, hosted.another(making.granted), hosted.host):
        hosted.answer(hosted.claim(), host)
        Execution.objects.filter(status="WAIT_RETRY").update(next_due_at=making.LONG_AGO)
    found = predicate(execution)
    assert [(run["outcome"], run["attempt"], run["worker"], run["firstStepIndex"]) for run in found["runs"]] == [
        ("CHECKPOINT", 0, "worker-1", 0),
        ("CHECKPOINT", 0, "worker-1", 1),
        ("RETRY_SCHEDULED", 0, "worker-1", 2),
        ("RETRY_SCHEDULED", 1, "worker-2", 2),
        ("SUCCEEDED", 2, "worker-1", 2),
    ]
    for index, run in zip([0, 1, 2, 2, 2], found["runs"], strict=True):
        assert (run["artifactDigest"], run["pinned"]) == (hosted.host.release.artifact_digest, True)
        assert (run["code"], run["findings"]) == ("source", ["CODE_NOT_VERIFIED"])
        [step] = run["steps"]
        assert (step["index"], step["name"]) == (index, f"Step {index}")
        assert run["claimedAt"] <= run["recordedAt"]
        assert run["startedAt"] == step["startedAt"] <= step["endedAt"] == run["endedAt"]
    assert found["pinnedThroughout"] is False


def test_the_newest_of_several_checkpoints_in_a_message_has_the_steps_of_all(hosting: Hosting) -> None:
    hosted = hosting(ONE, ONE, ONE)
    execution = hosted.submit(1)
    tasks.record(hosted.host.sealed(hosted.reports(hosted.claim())))
    events = execution.events.filter(data__has_key="worker").order_by("sequence")
    assert [[index for index, *_ in event.data["steps"]] for event in events] == [[0, 1], [2]]


def test_the_subject_is_the_artifact_and_no_value_is_disclosed(hosting: Hosting) -> None:
    hosted = hosting(ONE, ASKS, ONE)
    execution = hosted.run(hosted.submit(4321))
    [question] = Interaction.objects.filter(execution=execution)
    interactions.complete(hosted.owner, interaction_id=question.pk, response=8765, actor="user:anna")
    hosted.run(execution)
    document = statement(execution)
    [artifact] = hosted.release.artifacts.all()
    digest = {"sha256": artifact.digest.removeprefix("sha256:")}
    assert document["subject"] == [{"name": artifact.artifact_id, "digest": digest, "annotations": {"pinned": True}}]
    found = document["predicate"]
    assert found["execution"]["inputDigest"] == {"sha256": json_values.digest(4321)}
    assert found["execution"]["resultDigest"] == {"sha256": json_values.digest(8766)}
    assert found["pin"]["releaseDigest"] == {"sha256": json_values.digest(hosted.release.descriptor)}
    [waited] = found["awaits"]
    assert (waited["stepIndex"], waited["status"], waited["answered"]) == (1, "COMPLETED", 1)
    [answer] = waited["answers"]
    assert (answer["interactionId"], answer["actor"]) == (str(question.pk), "user:anna")
    for value in ("4322", "8765", execution.execution_key):
        assert value not in json.dumps(document)


def test_the_worst_report_is_kept_as_reported_and_not_believed(execution: Execution, claim: Claim) -> None:
    done = making.outcome_of(claim, steps=[(2**31 - 1, FOREVER, 0), (0, 0, 1), (0, 0, 1)])
    assert making.record(done, artifact_digest=OTHER, environment="sha256:" + "e" * 64) == 1
    found = predicate(execution)
    [run] = found["runs"]
    assert (run["artifactDigest"], run["pinned"], found["pinnedThroughout"]) == (OTHER, False, False)
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
    making.record(making.outcome_of(claim), artifact_digest=digest, environment="e", **members)
    found = predicate(execution)
    assert found["pinnedThroughout"] is throughout
    assert found["runs"][0]["findings"] == ([] if throughout else ["CODE_NOT_VERIFIED"])


def test_a_signed_document_has_the_same_bytes_every_time_and_a_valid_signature(
    execution: Execution, claim: Claim, settings: Any
) -> None:
    making.record(making.outcome_of(claim))
    execution = Execution.objects.select_related("tenant").get(pk=execution.pk)
    settings.PROVENANCE_KEY = signing.private_pem("coordinator")
    document = provenance.signed(execution)
    assert document == provenance.signed(Execution.objects.select_related("tenant").get(pk=execution.pk))
    envelope = read_envelope(json.loads(document))
    [signature] = envelope.signatures
    assert envelope.is_signed_by(statement_key.public_key(), signature)
    assert json.loads(envelope.payload) == provenance.statement(execution)
