"""Resubmits an execution that has ended: runs its input, or the steps after its checkpoint, again as a new execution.

The new execution is pinned to the active release, or to a release that the caller names and that is or was active. The
old execution keeps its pin and its result. The link, the new execution and the events of both are written in one
transaction, which holds the lock of the pipeline: an activation, a revocation or a pause is either committed before it,
or waits for it.
"""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from django.db import connection, transaction

from executions import errors, metrics
from executions.holds import holds
from executions.lifecycle import replacements
from executions.models import RESUBMISSION_PREFIX, Execution, Resubmission
from executions.models.states import TERMINAL, State
from executions.state_machine import moves
from executions.submission import admission, places, statements
from executions.submission.admission import Admission, Purpose, require_allowed
from executions.submission.insertion import new_id
from executions.workers.registry import DISPATCH_TASK
from foundation import wakeup
from governance.resubmission.starts import Place, Start
from releases.models import Pipeline, Release
from releases.states import Status
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.models import Tenant
from wire.documents import json_writer

MAX_ROUNDS = 5
"""The most new executions of one execution that a page or a response lists."""
UNCHANGED: Final = object()
"""Stands for the input of the old execution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A resubmission that was checked and can be written.

    `digest` is that of the new input. `input` is UNCHANGED if it equals the old one. `typed` says whether typed
    payloads of the old input are kept. `place` is where the new execution continues; None if it starts with the input.
    `search` has the values of the input that can be searched. `replaced_by` is the execution that carries on the work
    already, if the caller has allowed that it runs twice.
    """

    old: Execution
    admission: Admission
    operation_key: str
    actor: str
    reason: str
    input: Any
    digest: str
    shape: str
    typed: bool
    place: Place | None = None
    campaign: uuid.UUID | None = None
    replaced_by: uuid.UUID | None = None
    search: Sequence[dict[str, str]] = ()
    concurrency_key: str | None = None
    id: uuid.UUID = field(default_factory=new_id)


def resubmit(
    tenant: Tenant,
    execution_id: uuid.UUID,
    *,
    actor: str,
    reason: str,
    release_version: str | None = None,
    input: Any = UNCHANGED,  # noqa: A002 - the protocol's name
    start_from: str = Start.INPUT,
    expected_version: int | None = None,
    operation_key: str | None = None,
    allow_replaced: bool = False,
) -> Execution:
    """Submit the input of an execution that has ended again, and return the new execution.

    It is pinned to the active release, or to `release_version`, which is or was active. `input` replaces the input.
    With `start_from` CHECKPOINT, it continues from the checkpoint of the old one, and with ITEMS it runs the items
    again that failed and were collected, if the release provably can. A repeated call with the same `operation_key`
    returns the first new execution. Without a key, `expected_version` is the key; without both, every call creates an
    execution. With `allow_replaced`, it does so even if another one carries on the work; the event then names that one.

    Raises, in this order: `TenantNotAllowed`, `ExecutionUnknown`, `ResubmissionRemoved`, `ResubmitKeyReused`,
    `IdempotencyKeyReused`, `ResubmitRefused`, `VersionMismatch`, `ExecutionReplaced`, `NoActiveRelease`,
    `ReleaseUnknown`, `ReleaseNotAdmitted`, `PipelinePaused`, `ReleaseNotOpen`, `InputInvalid`, `CheckpointMissing`,
    `FailedItemsMissing`, `CheckpointIncompatible`, `ArtifactMissing`, `ArtifactAltered`, `ArtifactUnverified`,
    `WorkerUnavailable`, and `ExecutionChanged` if the execution or the release keeps changing meanwhile.
    """
    require_allowed(tenant)
    key = operation_key or (f"version:{expected_version}" if expected_version is not None else str(uuid.uuid4()))
    for _ in range(MAX_ROUNDS):
        old = _execution(tenant, execution_id)
        earlier = _earlier(old, key, release_version, input, start_from)
        if earlier is not None:
            return earlier
        check(old, expected_version)
        replaced_by = _replaced_by(old, start_from, allow_replaced)
        admitted = target(tenant, old.pipeline_id, release_version)
        planned = plan(old, admitted, operation_key=key, actor=actor, reason=reason, input=input, start_from=start_from)
        planned = replace(planned, replaced_by=replaced_by)
        admitted.require_runnable()
        with transaction.atomic():
            if lock_if_current([admitted]) and replacements.lock([old.pk]) and write([planned]):
                details = {"newExecution": str(planned.id), "startFrom": Start(start_from).value}
                if replaced_by is not None:
                    details["replacedBy"] = str(replaced_by)
                audit.record(
                    Act.EXECUTION_RESUBMIT,
                    tenant=tenant,
                    actor=actor,
                    object=execution_id,
                    reason=reason,
                    **details,
                )
                return _execution(tenant, planned.id)
    raise errors.ExecutionChanged(f"Execution {execution_id} or its pipeline keeps changing; resubmit it again.")


# --- checks, outside of transactions ---


def check(old: Execution, expected_version: int | None) -> None:
    """Raise `ResubmitRefused` or `VersionMismatch` if the execution may not be resubmitted."""
    if State(old.status) not in TERMINAL:
        raise errors.ResubmitRefused(
            f"Execution {old.pk} is {old.status}. It must end before it can be resubmitted.", executionStatus=old.status
        )
    if expected_version is not None and expected_version != old.version:
        raise errors.VersionMismatch(
            f"Execution {old.pk} has version {old.version}, not {expected_version}.", currentVersion=old.version
        )


def target(tenant: Tenant, pipeline_id: str, release_version: str | None) -> Admission:
    """Return the admission to the active release of a pipeline, or to the named release, which is or was active.

    Raises `NoActiveRelease`, `ReleaseUnknown`, `ReleaseNotAdmitted`, `PipelinePaused` and `ReleaseNotOpen`.
    """
    if release_version is None:
        return admission.current(tenant, pipeline_id)
    return admission.named(tenant, pipeline_id, release_version, Purpose.RESUBMISSION)


def plan(
    old: Execution,
    admitted: Admission,
    *,
    operation_key: str,
    actor: str,
    reason: str,
    input: Any = UNCHANGED,  # noqa: A002 - the protocol's name
    start_from: str = Start.INPUT,
    campaign: uuid.UUID | None = None,
) -> Plan:
    """Return the resubmission of `old` to the release of `admitted`.

    The input is checked against the first step of that release as the input of a submission is; a checkpoint in its
    place is checked against the step that takes it. Raises `InputInvalid`, `CheckpointMissing`, `FailedItemsMissing`
    and `CheckpointIncompatible`.
    """
    digest = old.input_digest if input is UNCHANGED else json_writer.digest(input)
    edited = digest != old.input_digest
    chosen = None if edited else chosen_shape(old)
    place = Place.of(old, start_from)
    if place is not None:
        place.require_compatible(old, admitted, edited=edited)
        shape = old.input_shape
    else:
        shape = admitted.input_shape(input if edited else old.input, chosen)
    return Plan(
        old=old,
        admission=admitted,
        operation_key=operation_key,
        actor=actor,
        reason=reason,
        input=input if edited else UNCHANGED,
        digest=digest,
        shape=shape,
        typed=chosen is not None and _input_type(old.release) == _input_type(admitted.release),
        place=place,
        campaign=campaign,
        search=admitted.search_values(input if edited else old.input, shape) if admitted.search else [],
        concurrency_key=admitted.concurrency.key_of(input if edited else old.input) if admitted.concurrency else None,
    )


def chosen_shape(old: Execution) -> str | None:
    """Return the shape that the submission chose for its input: only those in typed payloads do. None for others."""
    return old.input_shape if hasattr(old, "wire_form") and old.wire_form.input is not None else None


def _input_type(release: Release) -> tuple[Any, Any]:
    """Return what determines the type of a release's input on the wire."""
    document = release.contract.document if release.contract else {}
    steps = document.get("steps") or [{}]
    return steps[0].get("inputTypeId"), document.get("transport")


def _earlier(
    old: Execution,
    key: str,
    release_version: str | None,
    input: Any,  # noqa: A002 - the protocol's name
    start_from: str,
) -> Execution | None:
    """Return the execution that the operation key created; None if the key is new."""
    link = Resubmission.objects.filter(execution=old, operation_key=key).first()
    if link is None:
        rows = Execution.objects.filter(tenant=old.tenant, pipeline_id=old.pipeline_id)
        other = rows.filter(execution_key=_execution_key(old, key)).values_list("pk", flat=True).first()
        if other is not None and not Resubmission.objects.filter(pk=other).exists():
            raise errors.IdempotencyKeyReused(
                f"Execution {other} has the key of the new execution.", executionId=str(other)
            )
        return None
    made = _found(old.tenant, link.new_execution_id)
    if made is None:
        raise errors.ResubmissionRemoved(
            f"The operation key created execution {link.new_execution_id}, which was removed after its retention "
            "period. Use another key to run the input again.",
            executionId=str(link.new_execution_id),
        )
    digest = old.input_digest if input is UNCHANGED else json_writer.digest(input)
    continued = Start.INPUT if link.checkpoint_step is None else Start.CHECKPOINT
    if link.items is not None:
        continued = Start.ITEMS
    if made.input_digest != digest or release_version not in {None, made.release_version} or continued != start_from:
        raise errors.ResubmitKeyReused(
            f"The operation key created execution {made.pk} on release {made.release_version!r}.",
            executionId=str(made.pk),
        )
    return made


def _replaced_by(old: Execution, start_from: str, allowed: bool) -> uuid.UUID | None:
    """Return the execution that carries on the work. Raises `ExecutionReplaced` unless that is `allowed`."""
    found = replacements.replacement(old.pk, items=start_from == Start.ITEMS)
    if found is not None and not allowed:
        raise found.refusal()
    return None if found is None else found.id


# --- one transaction ---


def lock_if_current(admissions: Collection[Admission]) -> set[int]:
    """Lock the pipelines of `admissions` and return the keys of the releases that may still get the executions.

    They are registered, their pipelines had no activation since the admission, and no pause refuses submissions. The
    caller's transaction holds the locks, so that this stays true.
    """
    wanted = {admission.release.pipeline_id: admission for admission in admissions}
    rows = Pipeline.objects.filter(pk__in=wanted).order_by("pk").select_for_update(no_key=True)
    pointers = dict(rows.values_list("pk", "activation_id"))
    current = [
        admission.release.pk for pipeline, admission in wanted.items() if admission.activation == pointers[pipeline]
    ]
    registered = Release.objects.filter(pk__in=current, status=Status.REGISTERED)
    return set(holds.accepting(registered).values_list("pk", flat=True))


def write(plans: Sequence[Plan]) -> set[uuid.UUID]:
    """Write the new executions with their links and events. Return the ids of those that were written.

    The caller's transaction holds the locks of the pipelines and of the work: see `lock_if_current` and `replacements`.
    A plan is not written if its execution has changed, its operation key was used, or another execution than its
    `replaced_by` carries on the work. Raises `ExecutionChanged` if another execution got the key of a new one at this
    moment; nothing is written then.
    """
    if not plans:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(statements.LINK, {"rows": json_writer.text([_row(plan) for plan in plans])})
        linked = {new for (new,) in cursor.fetchall()}
        written = [plan for plan in plans if plan.id in linked]
        searched = any(plan.search for plan in written)
        insertion = statements.INSERT_LINKED_WITH_SEARCH if searched else statements.INSERT_LINKED
        cursor.execute(insertion, {"rows": json_writer.text([_row(plan) for plan in written])})
        if {new for (new,) in cursor.fetchall()} != linked:
            raise errors.ExecutionChanged("The key of a new execution was used at this moment.")
    moves.note("RESUBMITTED", [_note(plan) for plan in written])
    if written:
        wakeup.send_once(DISPATCH_TASK)
        places.announce([plan.id for plan in written if plan.concurrency_key is not None])
        transaction.on_commit(lambda: metrics.write_lines("Accepted", [(_pin(plan), plan.id) for plan in written]))
    return linked


def _pin(plan: Plan) -> metrics.Pin:
    return plan.old.tenant.slug, plan.old.pipeline_id, plan.admission.release.release_version


def _row(plan: Plan) -> dict[str, Any]:
    edited = plan.input is not UNCHANGED
    row = {
        "id": str(plan.id),
        "old": str(plan.old.pk),
        "version": plan.old.version,
        "operation": plan.operation_key,
        "key": _execution_key(plan.old, plan.operation_key),
        "edited": edited,
        "step": plan.place and plan.place.step,
        "items": plan.place and plan.place.items,
        "actor": plan.actor,
        "reason": plan.reason,
        "campaign": str(plan.campaign) if plan.campaign else None,
        "replaced": str(plan.replaced_by) if plan.replaced_by else None,
        "release": plan.admission.release.pk,
        "shape": plan.shape,
        "result_shape": plan.admission.result_shape,
        "checkpoints": plan.admission.release.checkpoints,
        "typed": plan.typed,
    }
    if plan.concurrency_key is not None:
        row["limited"] = plan.concurrency_key
    if plan.search:
        row["search"] = plan.search
    if edited:
        row |= {"digest": plan.digest, "input": [plan.input]}
    return row


def _note(plan: Plan) -> moves.Note:
    data: dict[str, Any] = {
        "executionId": str(plan.id),
        "releaseVersion": plan.admission.release.release_version,
        "contractVersion": plan.admission.release.contract_version,
        "reason": plan.reason,
        "edited": plan.input is not UNCHANGED,
    }
    if plan.place is not None:
        data["checkpointStep"] = plan.place.step
    if plan.place is not None and plan.place.items is not None:
        data["items"] = plan.place.items
    if plan.campaign is not None:
        data["campaignId"] = str(plan.campaign)
    if plan.replaced_by is not None:
        data["replacedBy"] = str(plan.replaced_by)
    return moves.Note(plan.old.pk, plan.actor, data)


def _execution_key(old: Execution, operation_key: str) -> str:
    return f"{RESUBMISSION_PREFIX}{old.pk}:{operation_key}"


def _execution(tenant: Tenant, execution_id: uuid.UUID) -> Execution:
    execution = _found(tenant, execution_id)
    if execution is None:
        raise errors.ExecutionUnknown(f"There is no execution {execution_id}.")
    return execution


def _found(tenant: Tenant, execution_id: uuid.UUID) -> Execution | None:
    rows = Execution.objects.filter(tenant=tenant, pk=execution_id)
    return rows.select_related("tenant", "release__contract", "wire_form").first()
