"""Returns a pipeline to a release that was active before."""

from executions.workers import eligibility
from governance.activation import activation, gates
from governance.activation.gate import Verdict
from releases import queries
from releases.errors import NoRollback, NothingToRollBackTo, OperationKeyReused, ReasonRequired, RollbackTooFar
from releases.history import was_active_lately
from releases.models import Activation, Kind, Pipeline, Release


def target(pipeline: Pipeline) -> Release | None:
    """Return the release of a rollback in one step, or None.

    It is the release that the active one replaced when it was active for the first time. So the step after a rollback
    goes further back, and never forward to the release that was rolled back.
    """
    if pipeline.activation is None:
        return None
    first = (
        pipeline.activations.filter(release=pipeline.activation.release_id)
        .select_related("previous__pipeline__tenant", "previous__pipeline__activation", "previous__contract")
        .earliest("sequence")
    )
    return first.previous


def roll_back(
    pipeline: Pipeline,
    *,
    actor: str,
    reason: str,
    release: Release | None = None,
    recent_only: bool,
    expected_release_version: str | None = None,
    operation_key: str | None = None,
) -> Activation:
    """Make `release` active again, or by default the `target` of the pipeline as it was read. Return the activation.

    With `recent_only`, the release must have been active within the `rollback_days` of the pipeline.
    `expected_release_version` and `operation_key` are those of `activation.activate`; a rollback to the target always
    expects the release that was active when the pipeline was read. Raises `ReasonRequired`, `NothingToRollBackTo`,
    `NoRollback`, `RollbackTooFar` and what `activate` raises.
    """
    if not reason.strip():
        raise ReasonRequired("A rollback requires a reason.")
    if release is None:
        earlier = _earlier(pipeline, operation_key)
        if earlier is not None:
            return earlier
        release = target(pipeline)
        if release is None or pipeline.activation is None:
            raise NothingToRollBackTo(f"No other release of pipeline {pipeline.pipeline_id!r} was active before.")
        if expected_release_version is None:
            expected_release_version = pipeline.activation.release.release_version

    def rule(locked: Pipeline, kind: Kind) -> None:
        if kind != Kind.ROLLBACK:
            raise NoRollback(f"Release {release.release_version!r} was not active before, or is active now.")
        if recent_only and not was_active_lately(locked, release):
            raise RollbackTooFar(
                f"Release {release.release_version!r} was not active in the last {locked.rollback_days} days.",
                rollBackDays=locked.rollback_days,
            )

    made = activation.activate(
        release,
        actor=actor,
        reason=reason,
        expected_release_version=expected_release_version,
        operation_key=operation_key,
        rule=rule,
    )
    return _rollback(made)


def warnings(release: Release) -> list[str]:
    """Return what is wrong with a release that is active again: its gates with a warning, and its workers."""
    judged = [gate.detail for gate in gates.judge(activation.planned(release)) if gate.verdict is not Verdict.MET]
    return [*judged, *eligibility.warnings(release)]


def _earlier(pipeline: Pipeline, operation_key: str | None) -> Activation | None:
    """Return the rollback that has the operation key. Raises `OperationKeyReused` if it is no rollback."""
    if operation_key is None:
        return None
    found = queries.history(pipeline).filter(operation_key=operation_key).first()
    return None if found is None else _rollback(found)


def _rollback(found: Activation) -> Activation:
    if found.kind != Kind.ROLLBACK:
        raise OperationKeyReused(
            f"The operation key belongs to the activation of release {found.release.release_version!r}.",
            activeReleaseVersion=found.release.release_version,
        )
    return found
