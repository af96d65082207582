"""The identity with which the worker of a claim reports."""

from executions.state_machine.moves import Claim
from wire.identity import ReleaseIdentity


def pin(claim: Claim) -> ReleaseIdentity:
    return ReleaseIdentity(claim.tenant, claim.pipeline_id, claim.contract_version, claim.release_version)
