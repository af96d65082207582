"""Tells a worker what its row says: to take commands, or to finish what it holds and take no more.

An order is a hint and the row is the truth, so that an order may be lost, late or repeated. Whoever changes the row
rings for it, and so does every heartbeat that contradicts it.
"""

import uuid
from collections.abc import Collection
from functools import partial

from executions.models import Worker
from executions.workers.registry import CELERY
from executions.workers.tenant_keys import active_keys
from foundation.wakeups.broker_gate import gate
from wire.broker import client
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Instruction
from wire.messages.limits import MOST_LEASES, TOLERANCE
from wire.messages.queues import INSTRUCTION_TASK, instruction_queue_of
from wire.messages.sealing import seal


def tell(worker_pk: int, lost_leases: Collection[uuid.UUID] = ()) -> bool:
    """Send the worker its order. `lost_leases` are tokens of lost leases that the worker still holds.

    Return False if the worker has stopped or announced a drain, or if the broker refuses the order. REST workers get no
    orders.

    Each worker has its own queue. The queue holds only the newest order, and expires once a worker would reject the
    order as too old. So orders do not accumulate for a worker that does not read, and a dead worker leaves no queue
    behind.
    """
    worker = (
        Worker.objects.select_related("tenant")
        .filter(pk=worker_pk, protocol=CELERY, stopped_at=None, draining_since=None)
        .first()
    )
    if worker is None:
        return False
    identity = ReleaseIdentity(worker.tenant.slug, worker.pipeline_id, worker.contract_version, worker.release_version)
    drained = worker.drained_by_operator_at is not None
    order = Instruction(worker_id=worker.worker_id, drain=drained, lost_leases=list(lost_leases)[:MOST_LEASES])
    envelope = seal(identity, order, *active_keys(identity.tenant_id))
    queue = instruction_queue_of(identity, worker.worker_id)
    send = partial(client.send_latest, INSTRUCTION_TASK, envelope, queue=queue, seconds=TOLERANCE.total_seconds())
    return gate.send(send)
