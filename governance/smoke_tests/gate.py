"""The gate of an activation that asks for a smoke test of the release."""

from governance.activation.gate import Gate, Switch, met, unmet
from governance.smoke_tests.smoke_tests import newest_passed
from releases.errors import SmokeTestRequired
from releases.history import was_active_lately
from releases.models import Kind

NAME = "smoke test"


def gate(switch: Switch) -> Gate | None:
    """Return whether the release has passed a smoke test lately, if the policy asks for one."""
    hours, version = switch.pipeline.smoke_test_hours, switch.release.release_version
    if hours is None:
        return None
    if switch.kind == Kind.ROLLBACK and was_active_lately(switch.pipeline, switch.release):
        days = switch.pipeline.rollback_days
        return met(NAME, f"Release {version!r} was active in the last {days} days, so it needs no smoke test.")
    newest = newest_passed(switch.release, hours=hours)
    if newest is None:
        detail = f"Release {version!r} has passed no smoke test in the last {hours} hours. Run one and wait for it."
        return unmet(NAME, SmokeTestRequired(detail, smokeTestHours=hours))
    at = newest.execution.finished_at.isoformat(timespec="seconds")
    return met(NAME, f"Release {version!r} passed the smoke test {newest.execution_id} at {at}.")
