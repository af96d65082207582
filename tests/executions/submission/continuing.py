from collections.abc import Sequence
from typing import Any

from executions.models import Execution
from executions.state_machine.moves import Claim
from governance.activation.activation import activate
from releases.models import Pipeline, Release
from tenancy.models import Tenant
from tests import making

STEPS = making.steps(*"ABC")


def order(*fields: str, optional: Sequence[str] = ()) -> dict[str, Any]:
    """Return the canonical types of a contract whose record `Order` has these fields, which are integers."""
    members = [
        {"name": name, "type": {"kind": "scalar", "id": "integer"}, "optional": name in optional}
        for name in (*fields, *optional)
    ]
    return {"Order": {"definition": {"id": "Order", "kind": "record", "fields": members}}}


def release(
    owner: Tenant,
    version: str,
    steps: Sequence[dict[str, Any]] = STEPS,
    types: dict[str, Any] | None = None,
    pipeline_id: str = making.PIPELINE,
) -> Release:
    types = order("n") if types is None else types
    made = making.contract(pipeline_id, steps=steps, schemaVersion=2, canonicalTypes=types)
    return making.declaring(owner, version, document=made, checkpoints=True)


def ready(**members: Any) -> Tenant:
    owner = making.tenant()
    activate(release(owner, "1.0", **members), actor="user:test")
    return owner


def failed(
    owner: Tenant,
    key: str = "key",
    *outputs: str,
    step: int = 1,
    many: bool = False,
    pipeline_id: str = making.PIPELINE,
) -> Execution:
    """Return an execution in DLQ, whose checkpoint before `step` has these outputs as JSON; {"n": 2} by default."""
    made = making.execution(owner, key, pipeline_id=pipeline_id)
    Pipeline.objects.filter(tenant=owner).update(retry_limit=0)
    [claim] = [claim for claim in making.claimed(owner) if claim.execution_id == made.pk]
    fail(made, claim, *outputs, step=step, many=many)
    assert (making.reread(made).status, made.current_step_index) == ("DLQ", step)
    return made


def fail(execution: Execution, claim: Claim, *outputs: str, step: int = 1, many: bool = False) -> None:
    reached = making.reached(claim, step, *(outputs or ['{"n": 2}']), many=many)
    assert making.record(making.failure(claim), checkpoints=[reached], identity=execution.pin) == 1
