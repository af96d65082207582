"""The metrics of messages that this process sends to the broker."""

from typing import Final

from foundation.telemetry.metrics import Counter, Histogram

send_time: Final = Histogram("coordinator_broker_send_seconds", "Time until the broker accepted a message.")
refusals: Final = Counter(
    "coordinator_broker_refusals_total", "Messages and probes that the broker did not accept. Work is then delayed."
)
