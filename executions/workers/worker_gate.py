"""The gate of an activation that asks for a worker: no worker, no switch."""

from executions.errors import WorkerUnavailable
from executions.workers.eligibility import require_healthy
from releases.activation.gates import Gate, Switch, met, unmet, warning
from releases.errors import WorkerRequired
from releases.models import WorkerGate

NAME = "worker"
START = "pipelines worker --release pipeline-release.json"
"""The command that starts a worker of a release."""


def gate(switch: Switch) -> Gate | None:
    """Return whether a worker may run the release now, if the policy asks for one."""
    policy, version = switch.pipeline.worker_gate, switch.release.release_version
    if policy == WorkerGate.OFF:
        return None
    try:
        require_healthy(switch.release)
    except WorkerUnavailable as refusal:
        detail = f"No worker may run release {version!r}: {refusal.detail.rstrip('.')}."
        if policy == WorkerGate.WARN:
            return warning(NAME, detail)
        return unmet(NAME, WorkerRequired(f"{detail} Start one with `{START}`.", command=START))
    return met(NAME, f"A worker may run release {version!r}.")
