"""Records whether messages arrive."""

from django.db import models
from django.db.models import F, Q


class MessagePath(models.Model):
    """Records when a message last passed in time through the queue of heartbeats to a control worker. It has one row.

    If no message arrives until `expected_by`, heartbeats do not arrive in time either. The table is empty before the
    first message.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    arrived_at = models.DateTimeField()
    expected_by = models.DateTimeField()

    class Meta:
        constraints = (
            models.CheckConstraint(condition=Q(id=1), name="message_path_once"),
            models.CheckConstraint(condition=Q(expected_by__gt=F("arrived_at")), name="message_path_expects_more"),
        )

    def __str__(self) -> str:
        return f"last message at {self.arrived_at}"
