"""The gate of an activation that asks for a worker: no worker, no switch."""

from typing import Final

from executions.errors import WorkerNotChecked, WorkerUnavailable
from executions.workers.eligibility import require_healthy
from governance.activation.gate import Gate, Switch, met, unmet, warning
from releases.errors import WorkerRequired
from releases.models import WorkerGate

NAME: Final = "worker"
START: Final = "pipelines worker --release pipeline-release.json"
"""The command that starts a worker of a release."""


def gate(switch: Switch) -> Gate | None:
    """Return whether a worker may run the release now, if the policy asks for one.

    The rule is that of submissions. A REST worker that was not checked recently is checked soon afterwards.
    """
    policy, version = switch.pipeline.worker_gate, switch.release.release_version
    if policy == WorkerGate.OFF:
        return None
    try:
        require_healthy(switch.release, called="this release")
    except WorkerUnavailable as refusal:
        detail = f"No worker may run release {version!r}: {refusal.detail.rstrip('.')}. {_advice(refusal)}"
        if policy == WorkerGate.WARN:
            return warning(NAME, detail)
        return unmet(NAME, WorkerRequired(detail, command=START))
    return met(NAME, f"A worker may run release {version!r}.")


def _advice(refusal: WorkerUnavailable) -> str:
    if isinstance(refusal, WorkerNotChecked):
        return "Try again in a few seconds."
    return f"Start one, for example with `{START}`."
