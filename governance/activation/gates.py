"""Judges what a pipeline's policy demands before a release becomes active.

Pages and previews judge without locks. An activation judges twice: before its transaction, and under the lock of the
pipeline, where the verdict counts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from foundation.errors import CoordinatorError
from releases.errors import SignatureRequired
from releases.models import ActivationRequest, Kind, Pipeline, Release
from releases.trust import trust


class Verdict(StrEnum):
    """The verdict on a gate. An activation with an unmet gate is refused."""

    MET = "met"
    WARNING = "warning"
    UNMET = "unmet"


@dataclass(frozen=True, slots=True)
class Switch:
    """A planned activation of `release`, under the policy of `pipeline`.

    `binding` is true in the transaction of the activation, which has locked the pipeline. `request` is the request that
    the activation carries out, and `override` says that a tenant admin does without approvals. `signers` are the
    signatures over the descriptors of the release and of the active one, if the caller has just read them. They are
    None if `binding` is true.
    """

    release: Release
    pipeline: Pipeline
    kind: Kind
    binding: bool = False
    request: ActivationRequest | None = None
    override: bool = False
    signers: Mapping[int, Sequence[trust.Signer]] | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """The verdict on one demand, such as `signatures`. `refusal` is set if and only if the gate is unmet."""

    name: str
    verdict: Verdict
    detail: str
    refusal: CoordinatorError | None = None


def met(name: str, detail: str) -> Gate:
    return Gate(name, Verdict.MET, detail)


def warning(name: str, detail: str) -> Gate:
    return Gate(name, Verdict.WARNING, detail)


def unmet(name: str, refusal: CoordinatorError) -> Gate:
    return Gate(name, Verdict.UNMET, refusal.detail, refusal)


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


sources: list[Callable[[Switch], Gate | None]] = [_signatures]
"""Each returns the verdict on its gate, or None if the policy does not ask for it. Apps above this one add theirs."""


def judge(switch: Switch) -> list[Gate]:
    """Return the verdict on each gate that the policy asks for."""
    return [gate for source in sources if (gate := source(switch)) is not None]


def require_met(switch: Switch) -> list[Gate]:
    """Return the verdicts. Raises the refusal of the first gate that is unmet."""
    gates = judge(switch)
    for gate in gates:
        if gate.refusal is not None:
            raise gate.refusal
    return gates
