"""Decides whether a new execution can continue from the checkpoint of another one. See ADR 55.

On the same release it can. On another release it must be proven: by the comparison of the contracts, and by the stored
value itself.
"""

from collections.abc import Iterator
from typing import Any

from executions.errors import CheckpointIncompatible, CheckpointMissing
from executions.models import AwaitUnit, Execution
from executions.submission.admission import Admission
from governance.reports.comparison import checkpoint_differences
from wire.comparison.comparison import taken_type
from wire.documents.canonical_types import mismatches

MOST_ERRORS = 100


def require_compatible(old: Execution, target: Admission) -> None:
    """Raise `CheckpointMissing` if `old` has no checkpoint, or `CheckpointIncompatible` if `target` may not take it."""
    if old.progress_shape is None:
        raise CheckpointMissing(f"Execution {old.pk} has no checkpoint. Resubmit its input.")
    if target.release.pk == old.release_id:
        return
    errors = list(_differences(old, target)) or [*_awaits(old, target), *_mismatches(old, target)]
    if errors:
        raise CheckpointIncompatible(
            f"Release {target.release.release_version!r} is not proven to continue from the checkpoint of execution "
            f"{old.pk}: {errors[0]['field']}: {errors[0]['message']}",
            errors=errors[:MOST_ERRORS],
            checkpointStep=old.current_step_index,
        )


def require_unedited(edited: bool) -> None:
    """Raise `CheckpointIncompatible` if the input is edited: a checkpoint follows from the old input."""
    if edited:
        message = "An edited input and a checkpoint, which follows from the old input, exclude each other."
        raise CheckpointIncompatible(message, errors=[_error("input", "EDITED", message)])


def _differences(old: Execution, target: Admission) -> Iterator[dict[str, str]]:
    for each in checkpoint_differences(old.release, target.release, old.current_step_index):
        yield _error(each.path, "NOT_PROVEN", each.reason)


def _awaits(old: Execution, target: Admission) -> Iterator[dict[str, str]]:
    """Yield an error if the value is the requests or the answers of an await, and the contract differs.

    The requests are stored at the step of the await, and the answers at the next one.
    """
    if old.release.contract_id == target.release.contract_id:
        return
    at = old.current_step_index
    if AwaitUnit.objects.filter(execution=old, step_index__in=(at - 1, at)).exists():
        message = "The requests or the answers of an await continue on releases of the same contract only."
        yield _error("checkpoint", "NOT_PROVEN", message)


def _mismatches(old: Execution, target: Admission) -> Iterator[dict[str, str]]:
    """Yield where the stored value does not have the type of the step that takes it."""
    contract = target.contract
    assert contract is not None  # noqa: S101 - the comparison requires it
    type_id = taken_type(contract, old.current_step_index)
    many = old.progress_shape == "MULTI"
    items: Any = old.progress if many else [old.progress]
    for place, item in enumerate(items):
        for path, rule in mismatches(contract.canonical_types, type_id or "", item):
            yield _error(f"checkpoint[{place}]{path}" if many else f"checkpoint{path}", "CHECKPOINT_TYPE", rule)


def _error(field: str, code: str, message: str) -> dict[str, str]:
    return {"field": field, "code": code, "message": message}
