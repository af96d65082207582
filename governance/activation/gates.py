"""Judges what a pipeline's policy demands before a release becomes active.

Pages and previews judge without locks. An activation judges twice: before its transaction, and under the lock of the
pipeline, where the verdict counts.
"""

from collections.abc import Callable
from typing import Final

from governance.activation import worker_gate
from governance.activation.gate import Gate, Switch, met, unmet, warning
from governance.requests import gate as approvals
from governance.smoke_tests import gate as smoke_gate
from releases.errors import SignatureRequired
from releases.trust import trust


def _signatures(switch: Switch) -> Gate | None:
    if switch.binding:
        trust.lock_keys(switch.pipeline)
    signers = None if switch.signers is None else switch.signers[switch.release.pk]
    found = trust.of(switch.release, switch.pipeline, signers=signers)
    if not found.is_met:
        detail = f"Release {switch.release.release_version!r} cannot be activated. {found.description}"
        return unmet("signatures", SignatureRequired(detail, standing=found.standing))
    if found.warns:
        return warning("signatures", found.description)
    names = [signer.key.name for signer in found.signers if signer.verdict is trust.Verdict.VALID and signer.key]
    return met("signatures", f"Signed by {', '.join(dict.fromkeys(names))}.") if names else None


GATES: Final[tuple[Callable[[Switch], Gate | None], ...]] = (
    _signatures,
    approvals.gate,
    worker_gate.gate,
    smoke_gate.gate,
)
"""Each returns the verdict on its gate, or None if the policy does not ask for it."""


def judge(switch: Switch) -> list[Gate]:
    """Return the verdict on each gate that the policy asks for."""
    return [gate for each in GATES if (gate := each(switch)) is not None]


def require_met(switch: Switch) -> list[Gate]:
    """Return the verdicts. Raises the refusal of the first gate that is unmet."""
    gates = judge(switch)
    for gate in gates:
        if gate.refusal is not None:
            raise gate.refusal
    return gates
