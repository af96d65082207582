"""When a failed transition of a release is retried: what its step declares and its pipeline's policy changes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings

from releases.models import Release
from releases.step_names import step_names
from wire.documents.step_policy import changed, retry_policy
from wire.retry import LONGEST_RETRY_DELAY, RetryPolicy

_COLUMNS = (
    "retry_limit",
    "retry_delay_seconds",
    "retry_multiplier",
    "repeat_unknown_outcomes",
    "step_policies",
)


@dataclass(frozen=True, slots=True)
class Retries:
    """The retry policies of one release. `default` is that of its pipeline, and `steps` has those of its steps."""

    default: RetryPolicy
    steps: Mapping[str, Mapping[str, Any]]
    names: tuple[str, ...]

    def of_step(self, index: int | None) -> RetryPolicy:
        """Return the policy after a failure of the step with this index. None means that no step caused it."""
        name = self.names[index] if index is not None and 0 <= index < len(self.names) else ""
        return retry_policy(self.steps.get(name, {}), self.default)


def of_release(release_id: int) -> Retries:
    """Read the policies of a release. A setting that neither step nor pipeline has is that of the coordinator."""
    row = Release.objects.values_list(
        "contract_version", "declarations__steps", *(f"pipeline__{column}" for column in _COLUMNS)
    )
    version, declared, limit, delay, multiplier, repeat_unknown, changes = row.get(pk=release_id)
    steps = changed(declared or {}, changes)
    default = RetryPolicy(
        limit=settings.RETRY_LIMIT if limit is None else limit,
        delay=timedelta(seconds=settings.RETRY_DELAY_SECONDS if delay is None else delay),
        multiplier=settings.RETRY_MULTIPLIER if multiplier is None else multiplier,
        cap=LONGEST_RETRY_DELAY,
        jitter=settings.RETRY_JITTER,
        repeat_unknown=repeat_unknown,
    )
    return Retries(default, steps, step_names(release_id, version) if steps else ())
