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


class OutcomePath(models.Model):
    """Records since when outcomes may wait in their queue. It has one row, or none before the first one waited.

    All outcomes that were sent before `unread_since` have been read. They are late from `expected_by` on, unless the
    row has changed by then. `began_at` is when the backlog began. All are null while nothing is known to wait.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    began_at = models.DateTimeField(null=True)
    unread_since = models.DateTimeField(null=True)
    expected_by = models.DateTimeField(null=True)

    class Meta:
        constraints = (
            models.CheckConstraint(condition=Q(id=1), name="outcome_path_once"),
            models.CheckConstraint(
                condition=Q(began_at=None, unread_since=None, expected_by=None)
                | Q(
                    began_at__isnull=False,
                    unread_since__isnull=False,
                    expected_by__isnull=False,
                    began_at__lte=F("unread_since"),
                    expected_by__gt=F("unread_since"),
                ),
                name="outcome_path_expects_more",
            ),
        )

    def __str__(self) -> str:
        return f"outcomes unread since {self.unread_since}"
