"""The memories of the test process that outlive a transaction."""

from executions.submission import admission, allowance
from executions.transports import changed_steps
from executions.workers import instructions, tenant_keys
from foundation.broker_gate import gate
from releases.artifacts import soundness
from tenancy.api import authentication
from tenancy.audit import recording


def clear() -> None:
    """Clear the caches and reset the limits of this process."""
    for module in (admission, authentication, soundness, tenant_keys):
        module.cache.clear()
    soundness.failures.clear()
    for limit in (instructions.lines, instructions.notices, recording.repeats):
        limit.reset()
    allowance.forget()
    changed_steps.forget()
    gate.reset()
