"""The timeouts of steps that the policy of a pipeline changes. Their commands carry them, because workers know others.

A release never changes what it declares, so a process reads that once. If it declares no timeout, nothing else is read.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from foundation.timed_cache import TimedCache
from releases.models import Pipeline, Release
from releases.states import Status
from releases.step_names import step_names
from wire.identity import ReleaseIdentity

REMEMBERED: Final = 1000
SECONDS: Final = 5
"""How long a process uses the policy of a pipeline that it has read."""
_changes: TimedCache[int, Mapping[str, Mapping[str, Any]]] = TimedCache(seconds=SECONDS, most=REMEMBERED)


def changed_timeouts(identity: ReleaseIdentity) -> dict[int, float]:
    """Return the seconds by the index of the step; nothing if the policy changes no timeout that the release has."""
    declaring = _declaring(identity)
    if declaring is None:
        return {}
    pipeline, names = declaring
    changes = _changes.get(pipeline)
    if changes is None:
        changes = Pipeline.objects.values_list("step_policies", flat=True).get(pk=pipeline)
        _changes.set(pipeline, changes)
    found = {index: changes.get(name, {}).get("timeoutSeconds") for index, name in names.items()}
    return {index: float(seconds) for index, seconds in found.items() if seconds is not None}


@lru_cache(REMEMBERED)
def _declaring(identity: ReleaseIdentity) -> tuple[int, dict[int, str]] | None:
    """Return the key of the pipeline, and the names of the steps that declare a timeout by their index.

    Return None if the release declares none.
    """
    rows = Release.objects.exclude(status=Status.REJECTED).filter(
        pipeline__tenant__slug=identity.tenant_id,
        pipeline__pipeline_id=identity.pipeline_id,
        release_version=identity.release_version,
    )
    release, pipeline, steps = rows.values_list("pk", "pipeline_id", "declarations__steps").get()
    declaring = {name for name, policy in (steps or {}).items() if "timeoutSeconds" in policy}
    if not declaring:
        return None
    names = step_names(release, identity.contract_version)
    return pipeline, {index: name for index, name in enumerate(names) if name in declaring}


def forget() -> None:
    """Empty the memory of this process."""
    _changes.clear()
    _declaring.cache_clear()
