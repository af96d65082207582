"""The provenance of an execution names the code of every part, also of parts that differ or did not report."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from executions import tasks
from executions.awaits import interactions
from executions.lifecycle import cancellation, outcome, provenance, revoked
from executions.models import Execution, Interaction
from executions.state_machine import moves
from executions.state_machine.moves import Claim
from executions.transports.celery import command_of
from pipelines.worker.host import Host
from pipelines.worker.outbox import Report
from releases.activation.revocation import Order, revoke
from releases.errors import ProvenanceKeyMissing
from releases.trust import statement_key
from tests import making, signing
from tests.cases import cases
from tests.executions.hosting import ASKS, FAILS_TWICE, LONG_AGO, MARKS, ONE, Hosted, Hosting
from tests.executions.lifecycle.recording import pin, record
from wire.documents import execution_statement, json_values
from wire.documents.json_writer import text
from wire.documents.signing import read_envelope
from wire.messages.celery_messages import CommandGroup, OutcomeGroup
from wire.messages.sealing import seal
from wire.worker_keys import worker_key

pytestmark = pytest.mark.django_db
OTHER = making.digest_of(b"another artifact")
FOREVER = 2**53 - 1


@pytest.fixture
def hosting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hosting:
    return Hosting(tmp_path, monkeypatch)


@pytest.fixture(autouse=True)
def retries(settings: Any) -> None:
    settings.RETRY_LIMIT, settings.RETRY_DELAY_SECONDS, settings.RETRY_JITTER = 3, 1, 0


def predicate(execution: Execution) -> dict[str, Any]:
    """Return the predicate of the execution's statement, which must be readable and must not contradict itself."""
    execution = Execution.objects.select_related("tenant").get(pk=execution.pk)
    document = provenance.statement(execution)
    read = execution_statement.read(text(document).encode())
    assert read.contradictions() == []
    found: dict[str, Any] = document["predicate"]
    return found


def recorded_steps(execution: Execution) -> list[list[int]]:
    """Return the steps that each event of a worker's report names."""
    reports = execution.events.filter(data__has_key="worker").order_by("sequence")
    return [[index for index, _, _ in event.data["steps"]] for event in reports]


def run_on(hosted: Hosted, host: Host, claim: Claim) -> None:
    """Run a claim on one of several workers, and record what it reports."""
    key = worker_key(settings.WORKER_SECRET, hosted.owner.slug)
    reports: list[Report] = []
    host.execute(seal(hosted.release.identity, CommandGroup(commands=[command_of(claim)]), key), reports.append)
    for each in reports:
        tasks.record(host.sealed([each]))


def due(execution: Execution) -> None:
    Execution.objects.filter(pk=execution.pk).update(next_due_at=LONG_AGO)


def lose_lease(claim: Claim, worker: str) -> None:
    """Let the worker name its lease, and end the lease."""
    tenant = Execution.objects.get(pk=claim.execution_id).tenant_id
    held = [(claim.execution_id, claim.lease_token)]
    assert moves.renew_leases(tenant, held, worker_id=worker, lease_seconds=30)
    Execution.objects.filter(pk=claim.execution_id).update(lease_expires_at=LONG_AGO)
    moves.expire_leases(actor="test", limit=10, most_takeovers=10)


def test_a_run_with_retries_on_two_workers_names_both_and_counts_each_step_once(hosting: Hosting) -> None:
    hosted = hosting(MARKS, MARKS, FAILS_TWICE)
    second = hosted.another(making.granted)
    execution = hosted.submit(1)
    hosted.answer(hosted.claim())
    due(execution)
    run_on(hosted, second, hosted.claim())
    due(execution)
    hosted.answer(hosted.claim())
    found = predicate(execution)
    digest = hosted.host.release.artifact_digest
    assert [
        (run["outcome"], run["attempt"], run["worker"], run["firstStepIndex"], [step["name"] for step in run["steps"]])
        for run in found["runs"]
    ] == [
        ("CHECKPOINT", 0, "worker-1", 0, ["Step 0"]),
        ("CHECKPOINT", 0, "worker-1", 1, ["Step 1"]),
        ("RETRY_SCHEDULED", 0, "worker-1", 2, ["Step 2"]),
        ("RETRY_SCHEDULED", 1, "worker-2", 2, ["Step 2"]),
        ("SUCCEEDED", 2, "worker-1", 2, ["Step 2"]),
    ]
    assert recorded_steps(execution) == [[0], [1], [2], [2], [2]]
    for run in found["runs"]:
        assert (run["artifactDigest"], run["pinned"], run["code"]) == (digest, True, "source")
        assert run["environment"].startswith("sha256:")
        assert run["findings"] == ["CODE_NOT_VERIFIED"]
        assert run["claimedAt"] <= run["recordedAt"]
        [step] = run["steps"]
        assert run["startedAt"] == step["startedAt"] <= step["endedAt"] == run["endedAt"]
    assert found["pinnedThroughout"] is False
    assert (found["execution"]["status"], found["execution"]["finished"]) == ("SUCCEEDED", True)


def test_the_newest_of_several_checkpoints_in_a_message_has_the_steps_of_all(hosting: Hosting) -> None:
    hosted = hosting(ONE, ONE, ONE)
    execution = hosted.submit(1)
    key = worker_key(settings.WORKER_SECRET, hosted.owner.slug)
    reports: list[Report] = []
    command = CommandGroup(commands=[command_of(hosted.claim())])
    hosted.host.execute(seal(hosted.release.identity, command, key), reports.append)
    tasks.record(hosted.host.sealed(reports))
    assert [(run["outcome"], [step["index"] for step in run["steps"]]) for run in predicate(execution)["runs"]] == [
        ("CHECKPOINT", [0, 1]),
        ("SUCCEEDED", [2]),
    ]
    assert recorded_steps(execution) == [[0, 1], [2]]


def test_the_subject_is_the_artifact_and_the_digests_are_those_of_the_values(hosting: Hosting) -> None:
    hosted = hosting(ONE)
    execution = hosted.run(hosted.submit(1))
    document = provenance.statement(Execution.objects.select_related("tenant").get(pk=execution.pk))
    artifact = hosted.release.artifacts.get()
    assert document["subject"] == [
        {
            "name": artifact.artifact_id,
            "digest": {"sha256": artifact.digest.removeprefix("sha256:")},
            "annotations": {"pinned": True},
        }
    ]
    about = document["predicate"]["execution"]
    assert about["inputDigest"] == {"sha256": json_values.digest(1)}
    assert about["resultDigest"] == {"sha256": json_values.digest(2)}
    assert document["predicate"]["pin"]["releaseDigest"] == {"sha256": json_values.digest(hosted.release.descriptor)}
    assert str(execution.execution_key) not in json.dumps(document)


def test_an_await_shows_who_answered_and_neither_question_nor_answer(hosting: Hosting) -> None:
    hosted = hosting(ONE, ASKS, ONE)
    execution = hosted.run(hosted.submit(4321))
    [asked] = Interaction.objects.filter(execution=execution)
    interactions.complete(hosted.owner, interaction_id=asked.pk, response=8765, actor="user:anna")
    hosted.run(execution)
    found = predicate(execution)
    assert [(run["outcome"], run["firstStepIndex"]) for run in found["runs"]] == [("AWAITING", 0), ("SUCCEEDED", 2)]
    [waited] = found["awaits"]
    assert (waited["stepIndex"], waited["status"], waited["items"], waited["answered"]) == (1, "COMPLETED", 1, 1)
    [answer] = waited["answers"]
    assert (answer["interactionId"], answer["actor"]) == (str(asked.pk), "user:anna")
    assert "4322" not in json.dumps(found)
    assert "8765" not in json.dumps(found)


def test_a_takeover_lists_the_lost_part_and_the_late_report_of_its_worker(hosting: Hosting) -> None:
    hosted = hosting(ONE, checkpoint=False)
    making.worker(hosted.release, "worker-2", artifact_digest=OTHER)
    execution = hosted.submit(1)
    lost = hosted.claim()
    lose_lease(lost, "worker-2")
    hosted.answer(hosted.claim())
    run_on(hosted, hosted.another(making.granted), lost)
    found = predicate(execution)
    assert [(run["outcome"], run["worker"]) for run in found["runs"]] == [
        ("LEASE_EXPIRED", "worker-2"),
        ("SUCCEEDED", "worker-1"),
        ("OUTCOME_DROPPED", "worker-2"),
    ]
    unreported, _, late = found["runs"]
    assert (unreported["artifactDigest"], unreported["findings"]) == (OTHER, ["NOT_REPORTED", "ARTIFACT_NOT_PINNED"])
    assert [step["name"] for step in late["steps"]] == ["Step 0"]
    assert late["pinned"]
    assert found["pinnedThroughout"] is False


def test_a_dropped_report_does_not_repeat_the_steps_of_its_checkpoints(hosting: Hosting) -> None:
    hosted = hosting(ONE, ONE)
    execution = hosted.submit(1)
    claim = hosted.claim()
    key = worker_key(settings.WORKER_SECRET, hosted.owner.slug)
    reports: list[Report] = []
    command = CommandGroup(commands=[command_of(claim)])
    hosted.host.execute(seal(hosted.release.identity, command, key), reports.append)
    checkpoint, ended = reports
    tasks.record(hosted.host.sealed([checkpoint]))
    lose_lease(claim, "worker-1")
    tasks.record(hosted.host.sealed([ended]))
    assert [(run["outcome"], [step["index"] for step in run["steps"]]) for run in predicate(execution)["runs"]] == [
        ("CHECKPOINT", [0]),
        ("LEASE_EXPIRED", []),
        ("OUTCOME_DROPPED", [1]),
    ]


def cancelled(execution: Execution) -> None:
    cancellation.cancel(execution.tenant, execution.pk, actor="user:anna", reason="a mistake")


def ended_by_a_revocation(execution: Execution) -> None:
    revoke(execution.release, actor="user:anna", reason="leaked", open_executions=Order.FAIL)
    assert revoked.fail_open() == 1


@cases(
    ("end", "outcome"),
    [(cancelled, "CANCELLED"), (ended_by_a_revocation, "RELEASE_REVOKED")],
)
def test_a_part_that_was_ended_names_the_worker_that_had_it(end: Callable[[Execution], None], outcome: str) -> None:
    owner, release = making.ready()
    execution = making.execution(owner)
    [claim] = making.claimed(owner)
    [artifact] = release.artifacts.all()
    making.worker(release, "worker-9", artifact_digest=artifact.digest)
    moves.renew_leases(owner.pk, [(claim.execution_id, claim.lease_token)], worker_id="worker-9", lease_seconds=30)
    end(execution)
    [run] = predicate(execution)["runs"]
    assert (run["outcome"], run["worker"], run["artifactDigest"]) == (outcome, "worker-9", artifact.digest)
    assert run["findings"] == ["NOT_REPORTED"]


def test_a_running_execution_says_that_it_has_not_finished() -> None:
    owner, _ = making.ready()
    execution = making.execution(owner)
    making.claimed(owner)
    found = predicate(execution)
    assert (found["execution"]["status"], found["execution"]["finished"]) == ("RUNNING", False)
    assert (found["execution"]["finishedAt"], found["execution"]["resultDigest"], found["runs"]) == (None, None, [])


def test_the_worst_report_is_kept_as_reported_and_not_believed() -> None:
    """A worker reports another artifact, steps that do not exist, and impossible times."""
    owner, _ = making.ready()
    execution = making.execution(owner)
    [claim] = making.claimed(owner)
    spans = [
        (2**31 - 1, FOREVER, 0),
        (0, 0, 1),
        (0, 0, 1),
    ]
    done = making.outcome_of(claim, steps=spans)
    group = OutcomeGroup(worker_id="w", artifact_digest=OTHER, environment="sha256:" + "e" * 64, outcomes=[done])
    assert outcome.record(pin(claim), group) == 1
    found = predicate(execution)
    [run] = found["runs"]
    assert (run["artifactDigest"], run["pinned"]) == (OTHER, False)
    assert run["findings"] == ["ARTIFACT_NOT_PINNED", "TIMES_IMPLAUSIBLE", "STEP_UNKNOWN"]
    assert [(step["index"], step["name"], step["startedAt"]) for step in run["steps"]] == [
        (2**31 - 1, None, None),
        (0, "Validate", "1970-01-01T00:00:00.000Z"),
    ]
    assert found["pinnedThroughout"] is False


def test_a_digest_that_is_none_is_no_subject() -> None:
    owner, release = making.ready()
    execution = making.execution(owner)
    [claim] = making.claimed(owner)
    group = OutcomeGroup(worker_id="w", artifact_digest="sha256:../../etc", outcomes=[making.outcome_of(claim)])
    outcome.record(pin(claim), group)
    execution = Execution.objects.select_related("tenant").get(pk=execution.pk)
    document = provenance.statement(execution)
    assert document["subject"] == [
        {"name": "pipeline-release.json", "digest": {"sha256": json_values.digest(release.descriptor)}}
    ]
    assert document["predicate"]["runs"][0]["artifactDigest"] == "sha256:../../etc"
    assert execution_statement.read(text(document).encode()).contradictions() == []


@cases(("members", "throughout"), [({"code": "artifact"}, True), ({}, True), ({"code": "source"}, False)])
def test_only_code_from_pinned_artifacts_is_pinned_throughout(members: dict[str, Any], throughout: bool) -> None:
    owner, release = making.ready()
    execution = making.execution(owner)
    [claim] = making.claimed(owner)
    [artifact] = release.artifacts.all()
    done = making.outcome_of(claim)
    group = OutcomeGroup(worker_id="w", artifact_digest=artifact.digest, environment="e", outcomes=[done], **members)
    outcome.record(pin(claim), group)
    found = predicate(execution)
    assert found["pinnedThroughout"] is throughout
    assert found["runs"][0]["findings"] == ([] if throughout else ["CODE_NOT_VERIFIED"])


def test_the_span_of_a_worker_without_steps_is_that_of_its_call() -> None:
    owner, _ = making.ready()
    execution = making.execution(owner)
    [claim] = making.claimed(owner)
    now = int(execution.created_at.timestamp() * 1000)
    record(claim, making.outcome_of(claim, span=(now, now + 7)))
    [run] = predicate(execution)["runs"]
    assert run["endedAt"] is not None
    assert run["startedAt"] < run["endedAt"]
    assert (run["steps"], run["findings"]) == ([], ["ARTIFACT_NOT_REPORTED", "ENVIRONMENT_NOT_REPORTED"])


def test_a_signed_document_has_the_same_bytes_every_time_and_a_valid_signature(settings: Any) -> None:
    settings.PROVENANCE_KEY = signing.private_pem("coordinator")
    owner, _ = making.ready()
    execution = making.execution(owner)
    [claim] = making.claimed(owner)
    record(claim, making.outcome_of(claim))
    execution = Execution.objects.select_related("tenant").get(pk=execution.pk)
    document = provenance.signed(execution)
    assert document == provenance.signed(Execution.objects.select_related("tenant").get(pk=execution.pk))
    envelope = read_envelope(json.loads(document))
    assert envelope.payload_type == execution_statement.PAYLOAD_TYPE
    [signature] = envelope.signatures
    assert signature.key_id == signing.key_id("coordinator")
    assert envelope.is_signed_by(statement_key.public_key(), signature)
    assert json.loads(envelope.payload) == provenance.statement(execution)


def test_without_a_key_nothing_is_signed(settings: Any) -> None:
    settings.PROVENANCE_KEY = ""
    owner, _ = making.ready()
    execution = Execution.objects.select_related("tenant").get(pk=making.execution(owner).pk)
    with pytest.raises(ProvenanceKeyMissing):
        provenance.signed(execution)
    assert provenance.statement(execution)["predicate"]["runs"] == []
