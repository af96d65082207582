"""The tasks of alerts. Each may run twice, at the same time or later."""

from celery import shared_task

from alerts import evaluation
from alerts.deliveries import DELIVER_TASK, NOTIFICATIONS, OUTBOX
from executions.state_machine.moves import NOTIFY_TASK
from foundation import places
from tenancy import invitations

REMOVAL_SECONDS = 10


@shared_task(name=evaluation.EVALUATE_TASK, acks_late=False)
def evaluate() -> None:
    """Judge the rules. The clock sends this every 30 seconds; a lost message only delays alerts."""
    evaluation.evaluate()


@shared_task(name=DELIVER_TASK)
def deliver() -> None:
    """Send the message that has been due for longest, and announce the next one."""
    OUTBOX.send()


@shared_task(name=NOTIFY_TASK)
def notify() -> None:
    """Send the message about an execution that has been due for longest, and announce the next one."""
    NOTIFICATIONS.send()


@shared_task(name=evaluation.REMOVE_TASK)
def remove_old() -> None:
    """Remove old alerts and messages for at most REMOVAL_SECONDS, and a batch of old invitations.

    The next run continues.
    """
    with places.ARTIFACTS.hold() as free:
        if free:
            evaluation.remove_old(seconds=REMOVAL_SECONDS)
            invitations.remove_old()
