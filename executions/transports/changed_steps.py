"""What the policy of a pipeline changes for workers: the timeouts of steps, and the retries of their items.

Commands carry it, because workers know what the code declares. A release never changes that, so a process reads it
once. If no step declares a timeout or runs for items, nothing else is read.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from foundation.timed_cache import TimedCache
from releases.models import Pipeline, Release
from releases.states import Status
from releases.step_names import step_names
from wire.identity import ReleaseIdentity

REMEMBERED: Final = 1000
SECONDS: Final = 5
"""How long a process uses the policy of a pipeline that it has read."""
_SENT: Final = {"timeoutSeconds", "parallel"}
"""The members of a declaration that workers follow and the policy of a pipeline may change."""
_changes: TimedCache[int, Mapping[str, Mapping[str, Any]]] = TimedCache(seconds=SECONDS, most=REMEMBERED)


class ChangedSteps(NamedTuple):
    """`timeouts` has seconds by the index of the step, `items` the members of the policy that are about retries."""

    timeouts: dict[int, float]
    items: dict[int, dict[str, Any]]


UNCHANGED: Final = ChangedSteps({}, {})


def changed_steps(identity: ReleaseIdentity) -> ChangedSteps:
    """Return what the policy changes of what the steps of a release declare."""
    declaring = _declaring(identity)
    if declaring is None:
        return UNCHANGED
    pipeline, steps = declaring
    changes = _changes.get(pipeline)
    if changes is None:
        changes = Pipeline.objects.values_list("step_policies", flat=True).get(pk=pipeline)
        _changes.set(pipeline, changes)
    if not changes:
        return UNCHANGED
    timeouts: dict[int, float] = {}
    items: dict[int, dict[str, Any]] = {}
    for index, name, declared in steps:
        found = dict(changes.get(name, {}))
        seconds = found.pop("timeoutSeconds", None)
        if seconds is not None and "timeoutSeconds" in declared:
            timeouts[index] = float(seconds)
        if found and "parallel" in declared:
            items[index] = found
    return ChangedSteps(timeouts, items)


@lru_cache(REMEMBERED)
def _declaring(identity: ReleaseIdentity) -> tuple[int, list[tuple[int, str, Mapping[str, Any]]]] | None:
    """Return the key of the pipeline, and the steps that declare a timeout or run for items, with their declarations.

    Return None if the release has none.
    """
    rows = Release.objects.exclude(status=Status.REJECTED).filter(
        pipeline__tenant__slug=identity.tenant_id,
        pipeline__pipeline_id=identity.pipeline_id,
        release_version=identity.release_version,
    )
    release, pipeline, steps = rows.values_list("pk", "pipeline_id", "declarations__steps").get()
    declaring = {name: policy for name, policy in (steps or {}).items() if policy.keys() & _SENT}
    if not declaring:
        return None
    names = step_names(release, identity.contract_version)
    return pipeline, [(index, name, declaring[name]) for index, name in enumerate(names) if name in declaring]


def forget() -> None:
    """Empty the memory of this process."""
    _changes.clear()
    _declaring.cache_clear()
