"""Judges what a pipeline's policy demands before a release becomes active.

Pages and previews judge without locks. An activation judges twice: before its transaction, and under the lock of the
pipeline, where the verdict counts.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from executions.errors import WorkerUnavailable
from executions.workers.eligibility import start_command, why_unhealthy
from foundation.errors import CoordinatorError
from foundation.plurals import counted
from governance.gradual import operations
from governance.requests import states
from governance.smoke_tests.smoke_tests import newest_passed
from releases import errors
from releases.models import ActivationRequest, Kind, Pipeline, Release, WorkerGate
from releases.pointer import approval_required, was_active_lately
from releases.trust import trust

APPROVAL: Final = "approval"
SIGNATURES: Final = "signatures"
SMOKE_TEST: Final = "smoke test"
WORKER: Final = "worker"


class Verdict(StrEnum):
    """The verdict on a gate. An activation with an unmet gate is refused."""

    MET = "met"
    WARNING = "warning"
    UNMET = "unmet"


@dataclass(frozen=True, slots=True)
class Switch:
    """A planned activation of `release`, under the policy of `pipeline`.

    `binding` is true in the transaction of the activation, which has locked the pipeline. `request` is the request that
    the activation carries out, and `override` says that a tenant admin does without approvals.

    The other members are what the caller has just read, for several releases at once. They are None if it has not, and
    if `binding` is true: then the gates read it. `signers` are the signatures over the descriptors of the release and
    of the active one. `was_active` says that the release was active in the days that the policy allows for rollbacks.
    `workers` are why no worker may run a release (`why_unhealthy`), and `passed` are smoke tests (`newest_passed`).
    """

    release: Release
    pipeline: Pipeline
    kind: Kind
    binding: bool = False
    request: ActivationRequest | None = None
    override: bool = False
    signers: Mapping[int, Sequence[trust.Signer]] | None = None
    was_active: bool | None = None
    workers: Mapping[int, WorkerUnavailable | None] | None = None
    passed: Mapping[int, Any] | None = None

    @property
    def returns_lately(self) -> bool:
        """True if this is a rollback to a release that was active in the days that the policy allows for rollbacks."""
        if self.kind != Kind.ROLLBACK:
            return False
        return was_active_lately(self.pipeline, self.release) if self.was_active is None else self.was_active


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
    trusted = trust.trust_of(switch.release, switch.pipeline, signers=signers)
    if not trusted.is_met:
        detail = f"Release {switch.release.release_version!r} cannot be activated. {trusted.description}"
        return unmet(SIGNATURES, errors.SignatureRequired(detail, standing=trusted.standing))
    if trusted.warns:
        return warning(SIGNATURES, trusted.description)
    names = [signer.key.name for signer in trusted.signers if signer.verdict is trust.Verdict.VALID and signer.key]
    return met(SIGNATURES, f"Signed by {', '.join(dict.fromkeys(names))}.") if names else None


def _approvals(switch: Switch) -> Gate | None:
    policy, request = switch.pipeline, switch.request
    if switch.override and not policy.emergency_override:
        detail = f"The policy of pipeline {policy.pipeline_id!r} allows no emergency override."
        return unmet(APPROVAL, errors.OverrideNotAllowed(detail))
    if request is not None:
        return _of_request(switch, request)
    if not policy.approvals:
        return None
    if switch.override:
        return warning(APPROVAL, "An emergency override does without the approvals that the policy requires.")
    if switch.returns_lately:
        days = counted(policy.rollback_days, "day")
        return met(APPROVAL, f"A rollback to a release that was active in the last {days} needs no approval.")
    if switch.kind == Kind.PROMOTION and operations.approved_with_start(policy, switch.release):
        return met(APPROVAL, "Approved with the start.")
    return unmet(APPROVAL, approval_required(policy, switch.release))


def _of_request(switch: Switch, request: ActivationRequest) -> Gate:
    changes = states.moved(request, switch.pipeline)
    if changes:
        detail = f"The request is outdated: {states.described(changes)}"
        return unmet(APPROVAL, errors.RequestOutdated(detail, moved=changes))
    names = [vote.actor for vote in states.approvals(request)]
    needed = request.policy["approvals"]
    if len(names) < needed:
        detail = f"Approvals needed: {needed}. Of those who approved it, {len(names)} may still vote."
        return unmet(APPROVAL, errors.ApprovalRequired(detail, approvals=needed))
    return met(APPROVAL, f"Approved by {', '.join(names)}." if names else "The policy requires no approvals.")


def _worker(switch: Switch) -> Gate | None:
    """Return whether a worker may run the release now, if the policy asks for one.

    The rule is that of submissions. A REST worker that was not checked recently is checked soon afterwards.
    """
    policy, version = switch.pipeline.worker_gate, switch.release.release_version
    if policy == WorkerGate.OFF:
        return None
    workers = _workers([switch.release]) if switch.workers is None else switch.workers
    refusal = workers[switch.release.pk]
    if refusal is None:
        return met(WORKER, f"A worker may run release {version!r}.")
    if policy == WorkerGate.WARN:
        return warning(WORKER, refusal.detail)
    command = start_command(switch.pipeline.pipeline_id, version)
    return unmet(WORKER, errors.WorkerRequired(refusal.detail, command=command))


def _smoke_test(switch: Switch) -> Gate | None:
    hours, version = switch.pipeline.smoke_test_hours, switch.release.release_version
    if hours is None:
        return None
    if switch.returns_lately:
        days = counted(switch.pipeline.rollback_days, "day")
        return met(SMOKE_TEST, f"Release {version!r} was active in the last {days}, so it needs no smoke test.")
    passed = newest_passed([switch.release], hours=hours) if switch.passed is None else switch.passed
    newest = passed.get(switch.release.pk)
    if newest is None:
        span = counted(hours, "hour")
        detail = f"Release {version!r} has passed no smoke test in the last {span}. Run one and wait for it."
        return unmet(SMOKE_TEST, errors.SmokeTestRequired(detail, smokeTestHours=hours))
    at = newest.execution.finished_at.isoformat(timespec="seconds")
    return met(SMOKE_TEST, f"Release {version!r} passed the smoke test {newest.execution_id} at {at}.")


def _workers(releases: Iterable[Release]) -> dict[int, WorkerUnavailable | None]:
    return why_unhealthy(list(releases))


def with_reads(switches: Sequence[Switch]) -> list[Switch]:
    """Return planned activations of one pipeline with `workers` and `passed`, read for all of them at once."""
    if not switches:
        return []
    policy, releases = switches[0].pipeline, [switch.release for switch in switches]
    workers = None if policy.worker_gate == WorkerGate.OFF else _workers(releases)
    passed = None if policy.smoke_test_hours is None else newest_passed(releases, hours=policy.smoke_test_hours)
    return [replace(switch, workers=workers, passed=passed) for switch in switches]


GATES: Final[tuple[Callable[[Switch], Gate | None], ...]] = (_signatures, _approvals, _worker, _smoke_test)
"""Each returns the verdict on its gate, or None if the policy does not ask for it."""
REFUSALS: Final = (
    errors.ApprovalRequired,
    errors.OverrideNotAllowed,
    errors.ReasonRequired,
    errors.SignatureRequired,
    errors.SmokeTestRequired,
    errors.WorkerRequired,
)
"""What the policy of a pipeline refuses. The audit log records it as a denial."""


def judge(switch: Switch) -> list[Gate]:
    """Return the verdict on each gate that the policy asks for."""
    return [gate for judge in GATES if (gate := judge(switch)) is not None]


def require_met(switch: Switch) -> list[Gate]:
    """Return the verdicts. Raises the refusal of the first gate that is unmet."""
    gates = judge(switch)
    for gate in gates:
        if gate.refusal is not None:
            raise gate.refusal
    return gates
