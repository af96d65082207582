"""Smoke tests: run an input on a registered release, whether it is active or not, and check the result.

A smoke test is an ordinary execution that is marked as `smoke`, and a row that says what is expected. It counts for no
statistics. It passes if the execution succeeds and, if a result is expected, its result is equal to that.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from django.db import transaction
from django.db.models import Case, F, Func, JSONField, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce, Now, NullIf

from executions import metrics
from executions.errors import ExecutionChanged, IdempotencyKeyReused, SmokeTestUnknown
from executions.models import PAYLOADS_OF_EXECUTION, Execution, SmokeTest
from executions.models.states import State
from executions.submission import admission
from executions.submission.admission import Purpose
from executions.submission.insertion import Row, commits
from releases.models import Release
from tenancy.audit.acts import Act
from wire.documents import json_writer

MAX_ROUNDS = 5


ANYTHING: Final = object()
"""Stands for any result."""


class Verdict(StrEnum):
    """The verdict on a smoke test.

    It is PENDING until its execution ends. OTHER_RESULT: the execution succeeded, but its result is not the expected
    one. FAILED: the execution failed or was cancelled.
    """

    PENDING = "PENDING"
    PASSED = "PASSED"
    OTHER_RESULT = "OTHER_RESULT"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Started:
    """A smoke test with its verdict. `repeated` is true if an earlier call with the same key started it."""

    test: Any
    repeated: bool


def start(
    release: Release,
    *,
    actor: str,
    input: Any,  # noqa: A002 - the protocol's name
    idempotency_key: str,
    expected_result: Any = ANYTHING,
) -> Started:
    """Run `input` on `release` as a smoke test. When this returns, its execution is durable and pinned.

    A repeated key with an equal input and an equal expected result returns the first smoke test of the release.

    Raises, in this order: `TenantNotAllowed`, `IdempotencyKeyReused`, `ReleaseNotAdmitted`, `PipelinePaused`,
    `InputInvalid`, `ArtifactMissing`, `ArtifactAltered`, `ArtifactUnverified`,
    `WorkerUnavailable`, and `ExecutionChanged` if the release
    changes meanwhile.
    """
    tenant, pipeline_id = release.pipeline.tenant, release.pipeline.pipeline_id
    admission.require_allowed(tenant)
    key = f"smoke:{release.release_version}:{idempotency_key}"
    expected = None if expected_result is ANYTHING else [expected_result]
    digest = json_writer.digest(input)
    for _ in range(MAX_ROUNDS):
        earlier = _earlier(release, key, digest, expected)
        if earlier is not None:
            return Started(earlier, repeated=True)
        admitted = admission.named(tenant, pipeline_id, release.release_version, Purpose.SMOKE_TEST)
        shape = admitted.input_shape(input)
        admitted.require_runnable()
        row = Row.of(admitted, key=key, digest=digest, input=[input], shape=shape, actor=actor, named=True, smoke=True)
        if _write(row, expected, actor):
            return Started(smoke_test(release, row.id), repeated=False)
    raise ExecutionChanged(f"Release {release.release_version!r} keeps changing; repeat the request.")


def _earlier(release: Release, key: str, digest: str, expected: list[Any] | None) -> Any:
    """Return the smoke test that has the key; None if the key is new. Raises `IdempotencyKeyReused`."""
    rows = Execution.objects.filter(tenant=release.pipeline.tenant_id, pipeline_id=release.pipeline.pipeline_id)
    first = rows.filter(execution_key=key).only("id", "input_digest").first()
    if first is None:
        return None
    test = of_release(release).filter(execution=first).first()
    if test is None or first.input_digest != digest or not json_writer.equal(test.expected_result, expected):
        raise IdempotencyKeyReused(
            f"The key belongs to execution {first.pk}, which has another input or expected result.",
            executionId=str(first.pk),
        )
    return test


def _write(row: Row, expected: list[Any] | None, actor: str) -> bool:
    """Write the execution, its event and its smoke test. Return False if the release does not admit it any more."""
    with transaction.atomic():
        [created_at] = commits.commit([row])
        if created_at is None:
            return False
        SmokeTest.objects.create(execution_id=row.id, release=row.release, expected_result=expected, actor=actor)
        row.release.record(Act.RELEASE_SMOKE_TEST, actor, execution=str(row.id))
        identity = row.release.identity
        pin = identity.tenant_id, identity.pipeline_id, identity.release_version
        transaction.on_commit(lambda: metrics.write_lines("Accepted", [(pin, row.id)]))
    return True


# --- verdicts ---

# A result as the list with that result. PostgreSQL compares jsonb as `wire.documents.json_writer` compares JSON. A
# single result is stored as a list already, which is empty if there is no result.
_NONE = Value([None], JSONField())
_RESULT = Case(
    When(execution__result_shape="SINGLE", then=Coalesce(NullIf("execution__result", Value([], JSONField())), _NONE)),
    default=Func(F("execution__result"), function="jsonb_build_array"),
    output_field=JSONField(),
)
_VERDICT = Case(
    When(
        Q(execution__status=State.SUCCEEDED) & (Q(expected_result__isnull=True) | Q(expected_result=_RESULT)),
        then=Value(Verdict.PASSED.value),
    ),
    When(execution__status=State.SUCCEEDED, then=Value(Verdict.OTHER_RESULT.value)),
    When(execution__finished_at__isnull=False, then=Value(Verdict.FAILED.value)),
    default=Value(Verdict.PENDING.value),
)


def with_verdicts(tests: QuerySet[SmokeTest]) -> QuerySet[Any]:
    """Add the verdict to each smoke test, as `verdict`. Load the executions without their payloads."""
    rows = tests.select_related("execution__tenant", "release__pipeline__tenant").annotate(verdict=_VERDICT)
    return rows.defer(*PAYLOADS_OF_EXECUTION)


def of_release(release: Release) -> QuerySet[Any]:
    """Return the smoke tests of a release with their executions and verdicts, newest first."""
    return with_verdicts(SmokeTest.objects.filter(release=release))


def smoke_test(release: Release, execution_id: uuid.UUID) -> Any:
    """Return one smoke test of a release. Raises `SmokeTestUnknown`."""
    test = of_release(release).filter(execution=execution_id).first()
    if test is None:
        raise SmokeTestUnknown(f"Release {release.release_version!r} has no smoke test {execution_id}.")
    return test


def newest_passed(releases: Iterable[Release], *, hours: int) -> dict[int, Any]:
    """Return the smoke test of each release that passed last, by the key of the release. Makes one query.

    A release is missing if it has passed none whose execution ended at most `hours` ago.
    """
    since = Now() - timedelta(hours=hours)
    passed = with_verdicts(SmokeTest.objects.filter(release__in=releases, execution__finished_at__gte=since))
    newest = (
        passed.filter(verdict=Verdict.PASSED).order_by("release_id", "-execution__finished_at").distinct("release_id")
    )
    return {test.release_id: test for test in newest}
