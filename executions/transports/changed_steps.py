"""What the policy of a pipeline sets for workers: the timeouts of steps, and the retries of their items.

Commands carry it, because workers know what the code declares. A release never changes, so a process reads once which
of its steps a policy can concern.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

from releases.models import Pipeline, Release
from releases.states import Status
from wire.identity import ReleaseIdentity

REMEMBERED: Final = 1000
SECONDS: Final = 5
"""How long a process uses the policy that it has read, for a release that declares a timeout or runs for items."""
SECONDS_UNDECLARED: Final = 60
"""The same for other releases, whose pipelines rarely have a timeout."""
_SENT: Final = {"timeoutSeconds", "parallel"}
"""The members of a declaration that workers follow and the policy of a pipeline may change."""


class ChangedSteps(NamedTuple):
    """`timeouts` has seconds by the index of the step, `items` the members of the policy that are about retries."""

    timeouts: dict[int, float]
    items: dict[int, dict[str, Any]]


UNCHANGED: Final = ChangedSteps({}, {})


@dataclass(slots=True)
class _Changes:
    """What the policy sets for one release, as a process has read it. It is read again at `due_at`.

    `steps` are the names of the steps that can have a timeout, by their index. `parallel` has those that run for items.
    """

    pipeline: int
    steps: Mapping[int, str]
    parallel: frozenset[str]
    seconds: float
    due_at: float
    newest: ChangedSteps = UNCHANGED

    def read(self) -> None:
        self.due_at = time.monotonic() + self.seconds
        policy = Pipeline.objects.values_list("step_policies", flat=True).get(pk=self.pipeline)
        changed = ChangedSteps({}, {})
        for index, name in self.steps.items() if policy else ():
            merged = dict(policy.get(name, {}))
            seconds = merged.pop("timeoutSeconds", None)
            if seconds is not None:
                changed.timeouts[index] = float(seconds)
            if merged and name in self.parallel:
                changed.items[index] = merged
        self.newest = changed


def changed_steps(identity: ReleaseIdentity) -> ChangedSteps:
    """Return what the policy sets for the steps of a release."""
    changes = _of_release(identity)
    if time.monotonic() >= changes.due_at:
        changes.read()
    return changes.newest


@lru_cache(REMEMBERED)
def _of_release(identity: ReleaseIdentity) -> _Changes:
    """Return nothing to read for releases of other authors, whose workers refuse what a policy sets."""
    rows = Release.objects.exclude(status=Status.REJECTED).filter(
        pipeline__tenant__slug=identity.tenant_id,
        pipeline__pipeline_id=identity.pipeline_id,
        release_version=identity.release_version,
    )
    pipeline, declared, contract = rows.values_list("pipeline_id", "declarations__steps", "contract__document").get()
    declares = any(policy.keys() & _SENT for policy in (declared or {}).values())
    parallel = frozenset(name for name, policy in (declared or {}).items() if "parallel" in policy)
    steps, protocols = _read(contract or {})
    is_read = steps and (declares or "celery" in protocols)
    return _Changes(pipeline, steps, parallel, SECONDS if declares else SECONDS_UNDECLARED, 0 if is_read else math.inf)


def _read(contract: Mapping[str, Any]) -> tuple[Mapping[int, str], list[str]]:
    """Return the named steps of a contract that are no awaits, by their index, and the protocols of its workers."""
    steps = {
        index: step["authoredName"]
        for index, step in enumerate(contract.get("steps") or [])
        if step.get("authoredName") and step.get("kind") != "await"
    }
    return steps, (contract.get("capabilities") or {}).get("transitionWorkerProtocols") or []


def forget() -> None:
    """Empty the memory of this process."""
    _of_release.cache_clear()
