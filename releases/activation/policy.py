"""The policy of a pipeline: its rules for activations, answers and workers, and its retry settings."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import TextChoices

from releases import queries
from releases.errors import PolicyInvalid
from releases.models import (
    LONGEST_APPROVAL_HOURS,
    LONGEST_ROLLBACK_DAYS,
    LONGEST_SKEW_GRACE_MINUTES,
    LONGEST_VERIFICATION_HOURS,
    MOST_APPROVALS,
    OLDEST_SMOKE_TEST_HOURS,
    MissingArtifacts,
    Pipeline,
    SignaturePolicy,
    UnverifiedWorkers,
    WorkerGate,
)
from tenancy import audit
from tenancy.audit.acts import Act

log = logging.getLogger(__name__)

MAX_RETRIES = 1000
LONGEST_RETRY_DELAY = timedelta(minutes=30)
"""The longest wait before a retry (wire protocol E.5)."""
MAX_MULTIPLIER = 100.0


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the policy: its name in the API, its column, its title for people, and what it means.

    It is one of the `choices`, or a number within the `limits`, or else true or false. A number is whole if its limits
    are. A null number means `unset`; if that is empty, the number is never null.
    """

    name: str
    column: str
    title: str
    meaning: str
    choices: type[TextChoices] | None = None
    limits: tuple[float, float] | None = None
    unset: str = ""

    @property
    def is_integer(self) -> bool:
        return self.limits is not None and isinstance(self.limits[0], int)

    def wrong(self, value: Any) -> str | None:
        """Return what is wrong with a value, or None."""
        if self.choices is not None:
            return None if value in self.choices.values else f"must be one of {', '.join(self.choices.values)}"
        if self.limits is None:
            return None if isinstance(value, bool) else "must be true or false"
        if (value is None and self.unset) or _is_within(value, self.limits, integer=self.is_integer):
            return None
        number = "a whole number" if self.is_integer else "a number"
        null = f", or null for {self.unset}" if self.unset else ""
        return f"must be {number} from {self.limits[0]:g} to {self.limits[1]:g}{null}"


def _is_within(value: Any, limits: tuple[float, float], *, integer: bool) -> bool:
    is_number = isinstance(value, int if integer else int | float) and not isinstance(value, bool)
    return bool(is_number and math.isfinite(value) and limits[0] <= value <= limits[1])


MEMBERS = (
    Member(
        "reasonRequired",
        "reason_required",
        "Activations require a reason",
        "Whether an activation needs a reason. A rollback always needs one.",
    ),
    Member(
        "signaturePolicy",
        "signature_policy",
        "Signatures",
        "Whether an activation needs a signature by a trusted key.",
        choices=SignaturePolicy,
    ),
    Member(
        "workerGate",
        "worker_gate",
        "Workers before an activation",
        "Whether an activation needs a worker that may run the release.",
        choices=WorkerGate,
    ),
    Member(
        "approvals",
        "approvals",
        "Approvals",
        "How many people other than the requester must approve an activation. A rollback to a recently active release "
        "needs none.",
        limits=(0, MOST_APPROVALS),
    ),
    Member(
        "approvalHours",
        "approval_hours",
        "Hours for approvals",
        "How many hours a request to activate a release waits for approvals.",
        limits=(1, LONGEST_APPROVAL_HOURS),
    ),
    Member(
        "emergencyOverride",
        "emergency_override",
        "Emergency override",
        "Whether a tenant admin may activate a release without the approvals, with a reason.",
    ),
    Member(
        "smokeTestHours",
        "smoke_test_hours",
        "Age of the smoke test before an activation, in hours",
        "How many hours ago the release must have passed a smoke test before it is activated.",
        limits=(1, OLDEST_SMOKE_TEST_HOURS),
        unset="no smoke test",
    ),
    Member(
        "skewGraceMinutes",
        "skew_grace_minutes",
        "Grace after a switch, in minutes",
        "How many minutes after it was replaced a release is still open to submissions that name it.",
        limits=(0, LONGEST_SKEW_GRACE_MINUTES),
    ),
    Member(
        "unverifiedWorkers",
        "unverified_workers",
        "Unverified workers",
        "Whether workers get work that report that their code comes from a folder and not from an artifact.",
        choices=UnverifiedWorkers,
    ),
    Member(
        "missingArtifacts",
        "missing_artifacts",
        "Missing artifacts",
        "Whether a release is registered whose bytes were not uploaded and are in no repository.",
        choices=MissingArtifacts,
    ),
    Member(
        "verificationHours",
        "verification_hours",
        "Hours for a verification without answers",
        "How many hours after its upload a release waits for repositories and registries that do not answer. Then it "
        "is rejected.",
        limits=(1, LONGEST_VERIFICATION_HOURS),
    ),
    Member(
        "rollBackDays",
        "rollback_days",
        "Rollback without approvals, in days",
        "A rollback to a release that was active in these last days needs no approvals, and the role on-call may do "
        "it.",
        limits=(1, LONGEST_ROLLBACK_DAYS),
    ),
    Member(
        "validateAnswers",
        "validate_answers",
        "Answers must have the declared type",
        "Whether an answer to an await must match the type that the contract names.",
    ),
    Member(
        "retryLimit",
        "retry_limit",
        "Retries",
        "The number of retries after a failed first attempt.",
        limits=(0, MAX_RETRIES),
        unset="the default",
    ),
    Member(
        "retryDelaySeconds",
        "retry_delay_seconds",
        "Delay before the first retry, in seconds",
        "The delay before the first retry.",
        limits=(0.0, LONGEST_RETRY_DELAY.total_seconds()),
        unset="the default",
    ),
    Member(
        "retryMultiplier",
        "retry_multiplier",
        "Growth of the delay",
        "The factor by which the delay grows with each retry.",
        limits=(1.0, MAX_MULTIPLIER),
        unset="the default",
    ),
    Member(
        "repeatUnknownOutcomes",
        "repeat_unknown_outcomes",
        "Repeat calls with an unknown outcome",
        "Whether a call of a REST worker is retried although the worker may have carried it out.",
    ),
)
_MEMBERS = {member.name: member for member in MEMBERS}


def change(pipeline: Pipeline, changes: Mapping[str, Any], *, actor: str) -> Pipeline:
    """Change the members of the policy that `changes` names, and return the changed pipeline.

    The policy applies from the next verification, activation, answer, failure and claim on. Raises `PolicyInvalid` with
    all errors, and then changes nothing.
    """
    errors = []
    for name, value in changes.items():
        wrong = _MEMBERS[name].wrong(value) if name in _MEMBERS else "is not a member of a policy"
        if wrong:
            errors.append({"field": name, "code": "POLICY", "message": wrong})
    if errors:
        raise PolicyInvalid("; ".join(f"{error['field']}: {error['message']}" for error in errors), errors=errors)
    if changes:
        _change(pipeline, changes, actor)
        log.info("%s changed the policy of %s %r: %s", actor, pipeline.tenant, pipeline.pipeline_id, dict(changes))
    return queries.pipeline(pipeline.tenant, pipeline.pipeline_id)


def _change(pipeline: Pipeline, changes: Mapping[str, Any], actor: str) -> None:
    columns = {name: _MEMBERS[name].column for name in changes}
    with transaction.atomic():
        before = Pipeline.objects.select_for_update().get(pk=pipeline.pk)
        Pipeline.objects.filter(pk=pipeline.pk).update(**{columns[name]: value for name, value in changes.items()})
        audit.record(
            Act.POLICY_CHANGE,
            tenant=pipeline.tenant,
            actor=actor,
            object_type="pipeline",
            object=pipeline.pipeline_id,
            before={name: getattr(before, column) for name, column in columns.items()},
            after=dict(changes),
        )
