"""How many executions of a release start and are in progress: as its code declares, and as it counts now."""

from typing import Any

from releases.models import Release


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
