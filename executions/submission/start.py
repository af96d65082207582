"""When the execution of a submission starts: not before a time, not after a time, and before or after others."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self

from django.utils import timezone

from executions.models.states import NORMAL, PRIORITIES
from executions.workers.registry import DISPATCH_TASK
from foundation import wakeup
from foundation.errors import InvalidRequest

PROMOTE_TASK: Final = "executions.promote_low"
MOST_DAYS: Final = 365


@dataclass(frozen=True, slots=True)
class Start:
    """When an execution starts. `priority` is that of `Execution`; its None is normal."""

    not_before: datetime | None = None
    expires_at: datetime | None = None
    priority: int | None = None

    @classmethod
    def of(cls, members: Mapping[str, Any]) -> Self | None:
        """Return the start that the valid members of a submission name; None if they name none."""
        values = members.get("notBefore"), members.get("expiresAt"), PRIORITIES[members.get("priority") or NORMAL]
        return None if values == (None, None, None) else cls(*values)

    def refusal(self) -> InvalidRequest | None:
        """Return why no execution can start so now; None if one can."""
        now = timezone.now()
        if self.not_before is not None and self.not_before > now + timedelta(days=MOST_DAYS):
            return _invalid("notBefore", f"must be within {MOST_DAYS} days")
        if self.expires_at is not None and self.expires_at <= max(now, self.not_before or now):
            return _invalid("expiresAt", "must be in the future and later than notBefore")
        return None

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of the new row that are not null."""
        columns = {"not_before": self.not_before, "expires": self.expires_at, "priority": self.priority}
        return {name: value for name, value in columns.items() if value is not None}


def announce(starts: Collection[Start]) -> None:
    """Send the wake-ups for new executions with these starts. The sweep finds those for which none is sent."""
    if any(start.priority == PRIORITIES["low"] for start in starts):
        wakeup.send_once(PROMOTE_TASK)
    if times := [start.not_before for start in starts if start.not_before is not None]:
        wakeup.send_once(DISPATCH_TASK, delay=max(min(times) - timezone.now(), timedelta()))


def _invalid(field: str, rule: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {rule}", errors=[{"field": field, "code": "INVALID", "message": rule}])
