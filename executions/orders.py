"""Tells a worker what its row says: to take commands, or to finish what it holds and take no more.

An order is a hint and the row is the truth, so that an order may be lost, late or repeated. Whoever changes the row
rings for it, and so does every heartbeat that contradicts it.
"""

from functools import partial

from celery import current_app
from django.conf import settings
from kombu import Queue

from coordinator.broker_gate import gate
from executions.models import Worker
from executions.protocol import ORDER_TASK, TOLERANCE, Order, order_queue_of, seal, worker_key
from executions.worker_registry import CELERY
from releases.identity import ReleaseIdentity


def tell(worker_pk: int) -> bool:
    """Send the worker its order; False where nobody is there to be told, or the broker does not take it. Who is
    called over HTTP needs no telling.

    The queue is the worker's own. It goes once no worker would believe what is in it, so that nothing is left of a
    worker that is dead.
    """
    worker = (
        Worker.objects.select_related("tenant")
        .filter(pk=worker_pk, protocol=CELERY, stopped_at=None, draining_since=None)
        .first()
    )
    if worker is None:
        return False
    identity = ReleaseIdentity(worker.tenant.slug, worker.pipeline_id, worker.contract_version, worker.release_version)
    order = Order(worker_id=worker.worker_id, drain=worker.drained_by_operator_at is not None)
    envelope = seal(identity, order, worker_key(settings.WORKER_SECRET, identity.tenant_id))
    queue = Queue(order_queue_of(identity, worker.worker_id), expires=TOLERANCE.total_seconds())
    send = partial(current_app.send_task, ORDER_TASK, args=(envelope,), queue=queue, retry=False)  # type: ignore[arg-type]  # stubs
    return gate.send(send)
