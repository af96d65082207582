"""The policy of a pipeline: its rules for activations, answers and workers, and its retry settings."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.db import transaction

from releases import queries
from releases.errors import PolicyInvalid
from releases.models import LONGEST_ROLLBACK_DAYS, MissingArtifacts, Pipeline, SignaturePolicy, UnverifiedWorkers
from tenancy import audit

log = logging.getLogger(__name__)

MAX_RETRIES = 1000
LONGEST_RETRY_DELAY = timedelta(minutes=30)
"""The longest wait before a retry (wire protocol E.5)."""
MAX_MULTIPLIER = 100.0


def _flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _count(value: Any) -> str | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_RETRIES):
        return None
    return f"must be a whole number from 0 to {MAX_RETRIES}, or null for the default"


def _days(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LONGEST_ROLLBACK_DAYS:
        return None
    return f"must be a whole number from 1 to {LONGEST_ROLLBACK_DAYS}"


def _between(least: float, most: float) -> Callable[[Any], str | None]:
    def rule(value: Any) -> str | None:
        if value is None:
            return None
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and math.isfinite(value) and least <= value <= most:
            return None
        return f"must be a number from {least:g} to {most:g}, or null for the default"

    return rule


def _one_of(known: Sequence[str]) -> Callable[[Any], str | None]:
    return lambda value: None if value in known else f"must be one of {', '.join(known)}"


# The JSON member, its column and its rule. A rule returns what is wrong with a value, or None.
_RULES: dict[str, tuple[str, Callable[[Any], str | None]]] = {
    "reasonRequired": ("reason_required", _flag),
    "signaturePolicy": ("signature_policy", _one_of(SignaturePolicy.values)),
    "validateAnswers": ("validate_answers", _flag),
    "missingArtifacts": ("missing_artifacts", _one_of(MissingArtifacts.values)),
    "unverifiedWorkers": ("unverified_workers", _one_of(UnverifiedWorkers.values)),
    "rollBackDays": ("rollback_days", _days),
    "retryLimit": ("retry_limit", _count),
    "retryDelaySeconds": ("retry_delay_seconds", _between(0, LONGEST_RETRY_DELAY.total_seconds())),
    "retryMultiplier": ("retry_multiplier", _between(1, MAX_MULTIPLIER)),
}


def change(pipeline: Pipeline, changes: Mapping[str, Any], *, actor: str) -> Pipeline:
    """Change the members of the policy that `changes` names, and return the changed pipeline.

    The policy applies from the next verification, activation, answer, failure and claim on. A retry setting that is
    null resets to the default. Raises `PolicyInvalid` with all errors, and then changes nothing.
    """
    errors = []
    for name, value in changes.items():
        wrong = _RULES[name][1](value) if name in _RULES else "is not a member of a policy"
        if wrong:
            errors.append({"field": name, "code": "POLICY", "message": wrong})
    if errors:
        raise PolicyInvalid("; ".join(f"{error['field']}: {error['message']}" for error in errors), errors=errors)
    if changes:
        _change(pipeline, changes, actor)
        log.info("%s changed the policy of %s %r: %s", actor, pipeline.tenant, pipeline.pipeline_id, dict(changes))
    return queries.pipeline(pipeline.tenant, pipeline.pipeline_id)


def _change(pipeline: Pipeline, changes: Mapping[str, Any], actor: str) -> None:
    columns = {name: _RULES[name][0] for name in changes}
    with transaction.atomic():
        before = Pipeline.objects.select_for_update().get(pk=pipeline.pk)
        Pipeline.objects.filter(pk=pipeline.pk).update(**{columns[name]: value for name, value in changes.items()})
        audit.record(
            "policy.change",
            tenant=pipeline.tenant,
            actor=actor,
            object_type="pipeline",
            object=pipeline.pipeline_id,
            before={name: getattr(before, column) for name, column in columns.items()},
            after=dict(changes),
        )
