"""The verdict on one demand of a pipeline's policy before a release becomes active."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from foundation.errors import CoordinatorError
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
