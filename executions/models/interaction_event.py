"""The history of claims: who took, passed on or gave back a question, append-only."""

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q

from executions.models.awaits import Interaction
from executions.models.execution import Execution
from tenancy.models import Tenant


class InteractionEvent(models.Model):
    """One change of the claim or the delegate of an interaction, written in the statement that makes the change.

    `claimed_by`, `claimed_until` and `delegate` are those of the interaction after the change. `sequence` counts the
    changes from 1 and equals the interaction's `claim_changes`, so no change lacks its event and no event its change.
    """

    class Kind(models.TextChoices):
        CLAIMED = "CLAIMED"
        RENEWED = "RENEWED"
        TAKEN_OVER = "TAKEN_OVER"
        RELEASED = "RELEASED"
        DELEGATED = "DELEGATED"

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="interaction_events", db_index=False)
    execution = models.ForeignKey(Execution, on_delete=models.PROTECT, related_name="interaction_events")
    # The unique constraint is also the index of the foreign key.
    interaction = models.ForeignKey(Interaction, on_delete=models.PROTECT, related_name="events", db_index=False)
    sequence = models.IntegerField()
    kind = models.CharField(max_length=10, choices=Kind)
    actor = models.CharField(max_length=200)
    note = models.CharField(max_length=2000, null=True)
    claimed_by = models.CharField(max_length=200, null=True)
    claimed_until = models.DateTimeField(null=True)
    delegate = models.CharField(max_length=200, null=True)
    at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("interaction", "sequence")
        constraints = (
            models.UniqueConstraint(fields=("interaction", "sequence"), name="interaction_event_once"),
            models.CheckConstraint(
                condition=Q(kind__in=["CLAIMED", "RENEWED", "TAKEN_OVER"], claimed_by=models.F("actor"))
                | Q(kind="RELEASED", claimed_by__isnull=True)
                | Q(kind="DELEGATED", claimed_by__isnull=True, delegate__isnull=False),
                name="interaction_event_kind",
            ),
            models.CheckConstraint(
                condition=Q(note__isnull=True) | ~Q(note__regex=r"^\s*$"), name="interaction_event_note_says_something"
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.interaction_id}"
