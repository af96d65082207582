"""Recording the outcomes of a claim, as its worker or another one."""

from typing import Any

from executions.lifecycle import outcome
from executions.models import Execution
from executions.state_machine.moves import Claim
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Outcome, OutcomeGroup


def pin(claim: Claim) -> ReleaseIdentity:
    return ReleaseIdentity(claim.tenant, claim.pipeline_id, claim.contract_version, claim.release_version)


def record(claim: Claim, *outcomes: Outcome, identity: ReleaseIdentity | None = None) -> int:
    """Record as the worker of the claim's release, or as that of another `identity`."""
    identity = identity or pin(claim)
    group = OutcomeGroup(worker_id="worker-1", outcomes=list(outcomes))
    return outcome.record(identity, group)


def state(execution: Execution) -> dict[str, Any]:
    return dict(Execution.objects.filter(pk=execution.pk).values().get())
