"""When a failed transition of a release is retried: what its step declares and its pipeline's policy changes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection

from executions.lifecycle import statements
from releases.step_names import step_names
from wire.documents.step_policy import changed, retry_policy
from wire.retry import LONGEST_RETRY_DELAY, RetryPolicy


@dataclass(frozen=True, slots=True)
class Retries:
    """The retry policies of one release. `default` is that of its pipeline, and `steps` has those of its steps."""

    default: RetryPolicy
    steps: Mapping[str, Mapping[str, Any]]
    names: tuple[str, ...]

    def of_step(self, index: int | None) -> RetryPolicy:
        """Return the policy after a failure of the step with this index. None means that no step caused it."""
        if index is None or not 0 <= index < len(self.names):
            return self.default
        return retry_policy(self.steps.get(self.names[index], {}), self.default)


def of_release(release_id: int) -> Retries:
    """Read the policies of a release. A setting that neither step nor pipeline has is that of the coordinator."""
    with connection.cursor() as cursor:
        cursor.execute(statements.RETRIES, {"release": release_id})
        version, declared, changes, limit, delay, multiplier, repeat_unknown = cursor.fetchone()
    default = RetryPolicy(
        limit=settings.RETRY_LIMIT if limit is None else limit,
        delay=timedelta(seconds=settings.RETRY_DELAY_SECONDS if delay is None else delay),
        multiplier=settings.RETRY_MULTIPLIER if multiplier is None else multiplier,
        cap=LONGEST_RETRY_DELAY,
        jitter=settings.RETRY_JITTER,
        repeat_unknown=repeat_unknown,
    )
    if declared is None and changes is None:
        return Retries(default, {}, ())
    steps = changed(*(json.loads(text or "{}") for text in (declared, changes)))
    return Retries(default, steps, step_names(release_id, version))
