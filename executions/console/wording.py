"""Values of the database in the words of the pages."""

from collections.abc import Iterator
from typing import Final

from django.urls import reverse

from executions.models import Campaign, DeadLetter, Interaction
from executions.questions.readable import readable_name

REASONS: Final = {
    DeadLetter.Reason.RETRY_EXHAUSTED.value: "no retries left",
    DeadLetter.Reason.NON_RETRYABLE.value: "not retryable",
    DeadLetter.Reason.AWAIT_TIMEOUT.value: "not answered in time",
    DeadLetter.Reason.AWAIT_FAILED.value: "question not delivered",
    DeadLetter.Reason.LEASES_LOST.value: "workers lost",
    DeadLetter.Reason.RELEASE_REVOKED.value: "release revoked",
    DeadLetter.Reason.OUTCOME_UNKNOWN.value: "outcome unknown",
}
"""Why an execution failed."""
KINDS: Final = {
    Campaign.Kind.REDRIVE.value: "re-drive",
    Campaign.Kind.RESUBMIT.value: "resubmit",
    Campaign.Kind.CANCEL.value: "cancel",
    Campaign.Kind.PAUSE.value: "pause",
}
QUESTIONS: Final = {
    Interaction.Status.WAITING.value: "open",
    Interaction.Status.DISPATCHING.value: "open, being sent",
    Interaction.Status.DISPATCHED.value: "open",
    Interaction.Status.COMPLETED.value: "answered",
    Interaction.Status.FAILED.value: "not delivered",
    Interaction.Status.TIMED_OUT.value: "not answered in time",
    Interaction.Status.CANCELLED.value: "withdrawn",
}


def conditions(filters: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield the label and value of each filter of a campaign, and the address of the failure group if it is that."""
    for name, value in filters.items():
        if name == "failureGroup":
            yield "Failure group", value, reverse("admin:executions_failuregroup_change", args=[value])
        elif name == "reason":
            yield "Cause", REASONS.get(value, value), ""
        else:
            yield readable_name(name), value, ""
