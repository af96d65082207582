"""What a question's page loads again while the question is open: its status, the time left, its claim, its buttons."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib.auth.models import User
from django.utils import timezone

from executions.awaits import questions, recipients
from executions.models import Interaction
from executions.questions.readable import person
from foundation.spans import lasting
from tenancy.access import actor
from wire.documents.contract import AUTOMATIC

Status = Interaction.Status
STATUSES: Final = {
    Status.WAITING.value: ("open", "warning"),
    Status.DISPATCHING.value: ("open, being sent", "info"),
    Status.DISPATCHED.value: ("open", "warning"),
    Status.COMPLETED.value: ("answered", "success"),
    Status.FAILED.value: ("not delivered", "danger"),
    Status.TIMED_OUT.value: ("not answered in time", "danger"),
    Status.CANCELLED.value: ("withdrawn", "default"),
}
"""Each status in words, with its colour."""
OVERDUE: Final = ("overdue", "danger")
"""The same for an open question whose deadline has passed."""
BUTTONS: Final = {
    "fields": ("review", ""),
    "json": ("review-json", ""),
    "fields-summary": ("answer", "edit"),
    "json-summary": ("json", "edit-json"),
}
"""What the first button of each form does, and what leads back from a summary to the form."""
FAST: Final = timedelta(minutes=2)
"""With less time left than this, the page is loaded again every second, and otherwise every SLOW_SECONDS."""
SLOW_SECONDS: Final = 2


@dataclass(frozen=True, slots=True)
class Present:
    """An open or closed question, as the person `me` sees it now.

    `buttons` is one of BUTTONS for a page with a form. `mark` is a string that changes with every change of what is
    shown, apart from the `countdown`, and with every log-in, because that changes the token of the form.
    """

    question: Interaction
    me: str
    signed_in_at: datetime | None
    has_role: bool
    may_answer: bool
    buttons: str
    left: timedelta

    @classmethod
    def of(cls, question: Interaction, me: User, *, has_role: bool, may_answer: bool, buttons: str) -> "Present":
        asks = question.status in Interaction.OPEN and question.transport not in AUTOMATIC
        left = questions.time_left(question) if asks else timedelta()
        buttons = buttons if buttons in BUTTONS else ""
        return cls(question, actor(me), me.last_login, has_role, may_answer, buttons, left)

    @property
    def act(self) -> str:
        return BUTTONS[self.buttons][0]

    @property
    def edit(self) -> str:
        return BUTTONS[self.buttons][1]

    @property
    def is_summary(self) -> bool:
        return bool(self.edit)

    @property
    def asks(self) -> bool:
        """True if it is open for people. Answers are refused once it is `late`."""
        return self.question.status in Interaction.OPEN and self.question.transport not in AUTOMATIC

    @property
    def late(self) -> bool:
        return self.asks and self.left <= timedelta()

    @property
    def answerable(self) -> bool:
        return self.asks and not self.late

    @property
    def seconds(self) -> int:
        """How often the part is loaded again."""
        return 1 if self.left < FAST else SLOW_SECONDS

    @property
    def countdown(self) -> str:
        return lasting(timedelta(seconds=int(self.left.total_seconds()))).replace(".0 s", " s")

    @property
    def mark(self) -> str:
        question = self.question
        claim = (
            (question.claimed_by, question.claimed_until, question.delegate)
            if is_claimed(question)
            else (question.delegate,)
        )
        shown = (
            self.me,
            self.signed_in_at,
            question.status,
            self.late,
            self.may_answer,
            question.assignee,
            question.group,
            *claim,
        )
        return hashlib.sha256(repr(shown).encode()).hexdigest()[:16]

    def context(self) -> dict[str, Any]:
        """Return what the templates of the part show."""
        question, claimed = self.question, is_claimed(self.question)
        state, variant = OVERDUE if self.late else STATUSES[question.status]
        return {
            "present": self,
            "question": question,
            "execution": question.execution,
            "state": state,
            "variant": variant,
            "waits": question.status in Interaction.OPEN,
            "answerable": self.answerable,
            "may_answer": self.may_answer,
            "has_role": self.has_role,
            "restriction": recipients.restriction(question),
            "claimed": claimed,
            "claimant": person(question.claimed_by or ""),
            "mine": claimed and question.claimed_by == self.me,
            "delegate": person(question.delegate or ""),
            "answered_by": "you" if question.actor == self.me else person(question.actor or ""),
        }


def is_claimed(question: Interaction) -> bool:
    """True if a claim lasts on an open question."""
    until = question.claimed_until
    return question.status in Interaction.OPEN and until is not None and until > timezone.now()
