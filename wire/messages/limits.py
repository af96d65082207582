"""The limits of messages, over the broker and over HTTP. Coordinator, authors' builds and workers share them.

Those of the values in messages are in `wire.value_limits`.
"""

from datetime import timedelta

TOLERANCE = timedelta(minutes=2)
"""How far the clocks of a sender and a receiver may differ."""
LONGEST_WAIT = timedelta(days=36_525)
"""The longest timeout of an await: a hundred years."""
LONGEST_STEP_ID = 300
"""In characters, like all limits of texts below."""
LONGEST_TYPE = 500
"""The name of a type."""
LONGEST_RECIPIENT = 200
"""An await's assignee or group."""
LONGEST_WORKER_ID = 190
"""With a prefix such as `worker:` it fits into the columns for actors and owners of leases."""
LONGEST_TRACEBACK = 4_000
MOST_TOGETHER = 1_000
"""The number of commands, outcomes or checkpoints in one group."""
MOST_LEASES = 10_000
"""The number of leases of one kind that a heartbeat or an instruction names. A worker has at most as many threads."""
MOST_SPANS = 1_000
"""The number of steps in one outcome or checkpoint whose times are reported. Those of later steps are not."""
MOST_DIFFERENCES = 50
"""The number of differences that a heartbeat lists between a worker's environment and the required one."""
