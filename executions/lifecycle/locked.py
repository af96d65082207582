"""Locks the executions whose outcomes are recorded, and gives late outcomes their lost leases back (ADR 73)."""

import logging
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from executions.lifecycle import statements
from executions.state_machine import moves
from foundation.database import prepared
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Checkpoint, Outcome, OutcomeGroup

log = logging.getLogger(__name__)
Report = TypeVar("Report", Outcome, Checkpoint)


@dataclass(frozen=True, slots=True)
class Locked:
    """A locked execution, as it was before its outcome."""

    pk: uuid.UUID
    attempt: int
    budget_start: int
    result_shape: str
    version: int
    step_index: int
    lost_lease: uuid.UUID | None


class Overtaken(Exception):
    """An execution was changed by a transaction that began after this one."""


def lock(identity: ReleaseIdentity, ids: Iterable[uuid.UUID], *, may_restart: bool) -> dict[uuid.UUID, Locked]:
    """Lock the executions with these ids, and return those of this release. Raises `Overtaken` if `may_restart`."""
    with prepared.cursor() as cursor:
        cursor.execute(statements.LOCK, {"ids": list(set(ids))})
        rows = cursor.fetchall()
    found = {}
    for pk, attempt, start, shape, version, step, lost, tenant, pipeline, contract, release, is_overtaken in rows:
        if may_restart and is_overtaken:
            raise Overtaken
        if ReleaseIdentity(tenant, pipeline, contract, release) == identity:
            found[pk] = Locked(pk, attempt, start, shape, version, step, lost)
    return found


def with_lost_leases(
    known: Mapping[uuid.UUID, Locked], group: OutcomeGroup
) -> tuple[Mapping[uuid.UUID, Locked], OutcomeGroup]:
    """Restore the lost leases of late outcomes. Return executions and reports, these with their new versions."""

    def is_late(report: Outcome | Checkpoint) -> bool:
        execution = known.get(report.execution_id)
        return execution is not None and report.lease_token == execution.lost_lease

    lost = [(each.execution_id, each.lease_token, each.outcome == "FAILED") for each in group.outcomes if is_late(each)]
    if not lost:
        return known, group
    versions = moves.restore_leases(lost, worker_id=group.worker_id)
    log.info("Restored %d lost leases for late outcomes", len(versions))

    def present(report: Report) -> Report:
        if report.execution_id not in versions or not is_late(report):
            return report
        return report.model_copy(update={"execution_version": versions[report.execution_id]})

    restored = {pk: replace(known[pk], version=version) for pk, version in versions.items()}
    found = {"outcomes": [*map(present, group.outcomes)], "checkpoints": [*map(present, group.checkpoints)]}
    return {**known, **restored}, group.model_copy(update=found)
