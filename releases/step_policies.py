"""What a release declares about retries, time and starts, and what the policy of its pipeline makes of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from releases.models import Release
from wire.documents.step_policy import changed, in_short, in_words


@dataclass(frozen=True, slots=True)
class StepPolicy:
    """The policy of one step: as its code declares it, and as it counts now. Their members are those on the wire."""

    step: str
    declared: Mapping[str, Any]
    effective: Mapping[str, Any]

    def __str__(self) -> str:
        """Return what counts, in words."""
        return in_words(self.effective)

    @property
    def short(self) -> str:
        return in_short(self.effective)

    @property
    def before(self) -> str:
        """What the code declares for the members that the policy changes, in words; empty if it changes none."""
        if self.declared == self.effective:
            return ""
        changed_members = {name: value for name, value in self.declared.items() if value != self.effective[name]}
        return in_words(changed_members) or "nothing"


def policies_of(release: Release) -> dict[str, StepPolicy]:
    """Return the policies of steps by their authored names. Steps that no one says anything about are left out."""
    declared = release.declarations.get("steps", {})
    effective = changed(declared, release.pipeline.step_policies)
    return {
        name: StepPolicy(name, declared.get(name, {}), policy) for name, policy in sorted(effective.items()) if policy
    }


def effective_limits(release: Release) -> dict[str, Any]:
    """Return the declared member `concurrency` with the numbers that the policy of the pipeline changes.

    It is empty if the release declares none. The policy adds no limit.
    """
    limits = dict(release.declarations.get("concurrency", {}))
    policy = release.pipeline
    if "limit" in limits and policy.concurrency_limit is not None:
        limits["limit"] = policy.concurrency_limit
    if "rate" in limits and policy.rate_limit is not None:
        limits["rate"] = {**limits["rate"], "limit": policy.rate_limit}
    return limits
