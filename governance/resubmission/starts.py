"""Where the execution that resubmits another one starts: with its input, its checkpoint, or its failed items.

A checkpoint and failed items are values in the middle of a pipeline. The release of the old execution may take them.
For another release it must be proven: by the comparison of the contracts, and by the values themselves. What cannot be
decided counts as not proven, because a wrong value would do wrong work without an error.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any, Self

from django.db import models

from executions import errors
from executions.models import AwaitUnit, Execution
from executions.step_reports import failed_items
from executions.submission.admission import Admission
from governance.reports.comparison import checkpoint_differences
from releases.models import Release
from wire.comparison.comparison import taken_type
from wire.comparison.differences import Difference
from wire.documents.canonical_types import mismatches

MOST_ERRORS = 100


class Start(models.TextChoices):
    """`executions.models.StartFrom` has those that campaigns know."""

    INPUT = "input"
    CHECKPOINT = "checkpoint"
    ITEMS = "items"


@dataclass(frozen=True, slots=True)
class Known:
    """What a check of many executions reads once: the steps at which they asked something, and the comparison."""

    awaited: Set[tuple[uuid.UUID, int]]
    differences: Callable[[Release, Release, int], tuple[Difference, ...]]


@dataclass(frozen=True, slots=True)
class Place:
    """The step at which a new execution starts, with a value: a list of `items` if they failed there.

    `items` is their number; None for a checkpoint.
    """

    step: int
    value: Any
    is_stream: bool
    items: int | None = None

    @classmethod
    def of(cls, old: Execution, start: str) -> Self | None:
        """Return the place at which a resubmission of `old` starts; None for one that starts with the input.

        Raises `CheckpointMissing` and `FailedItemsMissing`.
        """
        if start == Start.ITEMS:
            return cls._of_items(old)
        if start != Start.CHECKPOINT:
            return None
        if old.progress_shape is None:
            raise errors.CheckpointMissing(f"Execution {old.pk} has no checkpoint. Resubmit its input.")
        return cls(old.current_step_index, old.progress, old.progress_shape == "MULTI")

    @classmethod
    def _of_items(cls, old: Execution) -> Self:
        """If items failed at several steps, it is the first of these steps."""
        rows = failed_items.of_execution(old)
        if not rows:
            raise errors.FailedItemsMissing(f"No item of execution {old.pk} failed and was collected.")
        if not rows[0].is_complete:
            message = f"{rows[0].failed:,} items of execution {old.pk} failed, and not all of them are stored."
            raise errors.FailedItemsMissing(f"{message} Submit them as a new execution.")
        return cls(rows[0].step_index, [item["item"] for item in rows[0].items], True, rows[0].failed)

    def require_compatible(self, old: Execution, target: Admission, *, edited: bool) -> None:
        """Raise `CheckpointIncompatible` if `target` may not take the value. It follows from the old input, so that
        must not be `edited`.
        """
        if edited:
            message = "An edited input and a checkpoint, which follows from the old input, exclude each other."
            raise errors.CheckpointIncompatible(message, errors=[_error("input", "EDITED", message)])
        wrong = self.refusals(old, target)
        if wrong:
            raise errors.CheckpointIncompatible(
                f"Release {target.release.release_version!r} is not proven to continue from the checkpoint of "
                f"execution {old.pk}: {wrong[0]['field']}: {wrong[0]['message']}",
                errors=wrong[:MOST_ERRORS],
                checkpointStep=self.step,
            )

    def refusals(self, old: Execution, target: Admission, known: Known | None = None) -> list[dict[str, str]]:
        """Return why it is not proven that `target` may take the value. Empty: it is proven."""
        if target.release.pk == old.release_id:
            return []
        compare = known.differences if known else checkpoint_differences
        differences = compare(old.release, target.release, self.step)
        wrong = [_error(difference.path, "NOT_PROVEN", difference.reason) for difference in differences]
        return wrong or [*self._awaits(old, target, known), *self._mismatches(target)]

    def _awaits(self, old: Execution, target: Admission, known: Known | None) -> Iterator[dict[str, str]]:
        """Yield an error if the value is the requests or the answers of an await, and the contract differs.

        The requests are stored at the step of the await, and the answers at the next one.
        """
        if old.release.contract_id == target.release.contract_id:
            return
        if known is None:
            asked = AwaitUnit.objects.filter(execution=old, step_index__in=(self.step - 1, self.step)).exists()
        else:
            asked = not known.awaited.isdisjoint(((old.pk, self.step - 1), (old.pk, self.step)))
        if asked:
            message = "Questions and their answers continue on releases of the same contract only."
            yield _error("checkpoint", "NOT_PROVEN", message)

    def _mismatches(self, target: Admission) -> Iterator[dict[str, str]]:
        """Yield where the value does not have the type of the step that takes it."""
        contract = target.contract
        assert contract is not None  # noqa: S101 - the comparison requires it
        type_id = taken_type(contract, self.step)
        values: Sequence[Any] = self.value if self.is_stream else [self.value]
        for place, item in enumerate(values):
            for path, rule in mismatches(contract.canonical_types, type_id or "", item):
                name = f"checkpoint[{place}]" if self.is_stream else "checkpoint"
                yield _error(f"{name}{path}", "CHECKPOINT_TYPE", rule)


def _error(field: str, code: str, message: str) -> dict[str, str]:
    return {"field": field, "code": code, "message": message}
