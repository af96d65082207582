"""What is done with the reports of workers before outcomes move executions: locks, late leases, checkpoints.

What an event records about a worker and its code is as reported. `wire.documents.execution_runs` compares it with the
pinned release.
"""

import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from psycopg.types.json import Jsonb

from executions.lifecycle import statements
from executions.state_machine import moves
from foundation.database import prepared
from wire.documents.json_reader import all_storable
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Checkpoint, ItemGroup, Outcome, OutcomeGroup

log = logging.getLogger(__name__)
Report = TypeVar("Report", Outcome, Checkpoint, ItemGroup)
Starts = Mapping[uuid.UUID, int]
"""The step at which the part that is not recorded yet begins, by execution."""


def reporter(group: OutcomeGroup) -> dict[str, str]:
    """Return the members about the worker. Those that it does not report are empty, or absent in earlier events."""
    members = {
        "worker": group.worker_id,
        "artifactDigest": group.artifact_digest,
        "code": group.code or "",
        "environment": group.environment,
    }
    return {**members, "durablePipelines": group.durable_pipelines} if group.durable_pipelines else members


def of_outcome(outcome: Outcome, start: int) -> dict[str, Any]:
    """Return the members about the part that an outcome ends: the spans of its steps, and its own if known.

    A span has the step index, the start and the end, in milliseconds since 1970. Steps before `start` are left out: the
    checkpoint that moved the execution to `start` has recorded them.
    """
    members: dict[str, Any] = {"steps": [span for span in outcome.steps if span[0] >= start]}
    if outcome.span is not None:
        members["span"] = outcome.span
    return members


class Locked(NamedTuple):
    """A locked execution, as it was before its outcome."""

    pk: uuid.UUID
    attempt: int
    budget_start: int
    result_shape: str
    version: int
    step_index: int
    lost_lease: uuid.UUID | None
    release_id: int


class Overtaken(Exception):
    """An execution was changed by a transaction that began after this one."""


def lock(identity: ReleaseIdentity, ids: Iterable[uuid.UUID], *, may_restart: bool) -> dict[uuid.UUID, Locked]:
    """Lock the executions with these ids, and return those of this release. Raises `Overtaken` if `may_restart`."""
    parameters: dict[str, Any] = {
        "ids": list(set(ids)),
        "tenant": identity.tenant_id,
        "pipeline": identity.pipeline_id,
        "contract": identity.contract_version,
        "release": identity.release_version,
    }
    locked = {}
    with prepared.cursor() as cursor:
        cursor.execute(statements.LOCK, parameters)
        for *columns, is_of_release, is_overtaken in cursor.fetchall():
            if may_restart and is_overtaken:
                raise Overtaken
            if is_of_release:
                locked[columns[0]] = Locked(*columns)
    return locked


def with_lost_leases(
    known: Mapping[uuid.UUID, Locked], group: OutcomeGroup
) -> tuple[Mapping[uuid.UUID, Locked], OutcomeGroup]:
    """Restore the lost leases of late outcomes. Return executions and reports, these with their new versions."""

    def is_late(report: Outcome | Checkpoint | ItemGroup) -> bool:
        execution = known.get(report.execution_id)
        return execution is not None and report.lease_token == execution.lost_lease

    lost = [
        (outcome.execution_id, outcome.lease_token, outcome.outcome == "FAILED")
        for outcome in group.outcomes
        if is_late(outcome)
    ]
    if not lost:
        return known, group
    versions = moves.restore_leases(lost, worker_id=group.worker_id)
    log.info("Restored %d lost leases for late outcomes", len(versions))

    def present(report: Report) -> Report:
        if report.execution_id not in versions or not is_late(report):
            return report
        return report.model_copy(update={"execution_version": versions[report.execution_id]})

    restored = {pk: known[pk]._replace(version=version) for pk, version in versions.items()}
    reports = {
        "outcomes": [*map(present, group.outcomes)],
        "checkpoints": [*map(present, group.checkpoints)],
        "items": [*map(present, group.items)],
    }
    return {**known, **restored}, group.model_copy(update=reports)


def keep_checkpoints(reached: Sequence[Checkpoint], group: OutcomeGroup, starts: Starts) -> dict[uuid.UUID, int]:
    """Store the newest valid checkpoint of each execution, and return the steps at which these executions resume.

    A checkpoint is valid if its lease is, and if its outputs can be stored. It counts as progress: it resets the number
    of leases that its execution has lost in a row, and its retries. The caller has verified that the executions belong
    to the release that the worker hosts. `reached` are those checkpoints of `group`, and `starts` the current steps of
    the executions.
    """
    # At most one version and lease of an execution passes the guard, so the newest is chosen for each of them.
    newest: dict[object, tuple[Checkpoint, Jsonb]] = {}
    for checkpoint in sorted(reached, key=lambda checkpoint: checkpoint.next_step_index):
        progress = _progress(checkpoint)
        if progress is not None:
            newest[checkpoint.execution_id, checkpoint.execution_version, checkpoint.lease_token] = (
                checkpoint,
                progress,
            )
    rows = list(newest.values())
    if not rows:
        return {}
    columns: dict[str, Any] = {
        "actor": f"worker:{group.worker_id}",
        "reporter": Jsonb(reporter(group)),
        "ids": [checkpoint.execution_id for checkpoint, _ in rows],
        "versions": [checkpoint.execution_version for checkpoint, _ in rows],
        "tokens": [checkpoint.lease_token for checkpoint, _ in rows],
        "steps": [checkpoint.next_step_index for checkpoint, _ in rows],
        "progress": [progress for _, progress in rows],
        "shapes": ["MULTI" if checkpoint.many else "UNI" for checkpoint, _ in rows],
        "keys": [checkpoint.transition_key for checkpoint, _ in rows],
        "spans": [
            Jsonb(
                [
                    span
                    for span in checkpoint.steps
                    if starts[checkpoint.execution_id] <= span[0] < checkpoint.next_step_index
                ]
            )
            for checkpoint, _ in rows
        ],
    }
    with prepared.cursor() as cursor:
        cursor.execute(statements.STORE_CHECKPOINTS, columns)
        return dict(cursor.fetchall())


def _progress(checkpoint: Checkpoint) -> Jsonb | None:
    """Return what the next step starts from. If it cannot be stored, log that and return None."""
    try:
        outputs = all_storable(checkpoint.output_payloads)
    except ValueError:  # its text may quote the output
        pk = checkpoint.execution_id
        log.warning("A checkpoint of execution %s cannot be stored", pk, extra={"execution": pk})
        return None
    if checkpoint.many:
        return Jsonb(outputs)
    return Jsonb(outputs[0]) if len(outputs) == 1 else None
