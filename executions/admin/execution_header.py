"""The header on the page of an execution: what a person must know now, and why an act is not possible."""

from typing import Any

from django.utils import timezone

from executions.admin.filters import STATE_VARIANTS
from executions.failures import facts
from executions.holds.holds import holds_of
from executions.lifecycle.redrive import redrivable
from executions.models import DUE_VALUES, TERMINAL_VALUES, Execution, Interaction
from executions.models.states import State, legal
from executions.submission.resubmission import RESUBMITTABLE, links, origin
from executions.workers.eligibility import why_stranded
from foundation.admin.times import lasting
from releases.models import Revocation
from releases.states import Status

QUESTIONS_SHOWN = 20
REFRESH_SECONDS = 10
"""After how many seconds the page of a live execution is drawn again, even if nothing has happened."""


class Now:
    """What is read once for each request: pauses, open questions, and why no worker may run the execution."""

    def __init__(self, execution: Execution) -> None:
        self.at = timezone.now()
        self.holds = holds_of(execution)
        self.stranded = why_stranded(execution.release_id) if execution.status in DUE_VALUES else None
        self.questions = _open_questions(execution)
        self.mark = self._mark(execution)

    def _mark(self, execution: Execution) -> str:
        """Return a string that changes with every change of the page."""
        lease = int(execution.lease_expires_at.timestamp()) if execution.lease_expires_at else 0
        paused = "-".join(str(hold.pk) for hold in self.holds)
        age = (self.at - execution.updated_at).total_seconds() // REFRESH_SECONDS
        drawn = "" if execution.status in TERMINAL_VALUES else int(age)
        return f"{execution.event_count}.{lease}.{self.stranded or ''}.{len(self.questions)}.{paused}.{drawn}"


def shown(execution: Execution, now: Now) -> dict[str, Any]:
    """Return the context of the header."""
    state = State(execution.status)
    activation = execution.release.pipeline.activation
    return {
        "execution": execution,
        "variant": STATE_VARIANTS[execution.shown_status],
        "over": execution.status in TERMINAL_VALUES,
        "mark": now.mark,
        "holds": now.holds,
        "waits": execution.status in DUE_VALUES,
        "stranded": now.stranded,
        "active": activation.release if activation else None,
        "retired": execution.release.status == Status.RETIRED,
        "revocation": Revocation.objects.filter(release=execution.release_id).first(),
        "lasted": lasting((execution.finished_at or now.at) - execution.created_at),
        "attempts": _attempts(execution),
        "step": facts.step_now(execution),
        "origin": origin(execution),
        "resubmissions": [(link, STATE_VARIANTS.get(link.status, "default")) for link in links(execution)],
        "questions": now.questions[:QUESTIONS_SHOWN],
        "more_questions": len(now.questions) > QUESTIONS_SHOWN,
        "refusals": _refusals(execution, state),
    }


def _refusals(execution: Execution, state: State) -> dict[str, str]:
    """Return why each act is not possible now; empty if it is possible for the roles that may do it."""
    ended = "" if legal(state, State.CANCELLED) else "It has ended."
    redrive = "" if state in redrivable(allow_failed=True) else "Only failed executions can be re-driven."
    if not redrive and execution.release.status == Status.RETIRED:
        redrive = "Its release is retired, so it cannot run again. Resubmit it."
    return {
        "redrive": redrive,
        "resubmit": "" if state in RESUBMITTABLE else "It must end before it can be resubmitted.",
        "cancel": ended,
        "pause": ended,
    }


def _attempts(execution: Execution) -> int:
    """Return how many attempts have begun. The attempts of lost leases are not counted again."""
    claims = execution.events.filter(kind="CLAIMED").order_by("-sequence").values_list("data", flat=True)
    newest = claims.first()
    return 0 if newest is None else int(newest.get("attempt") or 0) + 1


def _open_questions(execution: Execution) -> list[Interaction]:
    """Return the interactions that it waits for, in the order of the items."""
    if execution.status != State.WAITING_EXTERNAL:
        return []
    rows = Interaction.objects.filter(unit=execution.await_unit_id, status__in=Interaction.OPEN)
    return list(rows.defer("request", "response").order_by("item_index")[: QUESTIONS_SHOWN + 1])
