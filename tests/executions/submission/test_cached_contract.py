"""After an activation, a process immediately uses the new contract for input checks and the result shape."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from executions.models import Execution, Worker
from executions.submission import admission
from executions.submission.submission import ExecutionRequest, Submission, submit_many
from foundation.errors import CoordinatorError
from releases.activation.activation import activate
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.clock import Clock

pytestmark = pytest.mark.django_db
Contract = dict[str, Any]


@pytest.fixture(autouse=True)
def long_memory(settings: Any) -> None:
    """Cached admissions do not expire during a test."""
    settings.SUBMISSION_CACHE_SECONDS = 3600


def typed(field: str, kind: str, **step: Any) -> Contract:
    """Return members of a contract whose first step takes a record with the member `field`."""
    member = {"name": field, "type": {"kind": "scalar", "id": kind}, "optional": False}
    definition = {"id": "Order", "kind": "record", "fields": [member]}
    return {
        "schemaVersion": 2,
        "steps": [{**making.STEP, **step}],
        "canonicalTypes": {"Order": {"definition": definition}},
    }


NUMBER, TEXT, RENAMED = typed("n", "integer"), typed("n", "string"), typed("m", "integer")
MANY_IN = typed("n", "integer", cardinality="MANY_TO_ONE")
MANY_OUT = typed("n", "integer", cardinality="ONE_TO_MANY")
ANY: Contract = {}


@dataclass(frozen=True)
class Case:
    """`expected` is the error code, or the shapes of input and result, for `value` under the contract `after`."""

    before: Contract
    after: Contract
    warm: Any
    value: Any
    expected: str | tuple[str, str]


CASES = {
    "another type": Case(NUMBER, TEXT, {"n": 1}, {"n": 1}, "INPUT_INVALID"),
    "a value that the old type rejects": Case(NUMBER, TEXT, {"n": 1}, {"n": "one"}, ("UNI", "SINGLE")),
    "another member": Case(NUMBER, RENAMED, {"n": 1}, {"n": 1}, "INPUT_INVALID"),
    "the new member": Case(NUMBER, RENAMED, {"n": 1}, {"m": 1}, ("UNI", "SINGLE")),
    "a new type": Case(ANY, NUMBER, {"x": 1}, {"x": 1}, "INPUT_INVALID"),
    "no type": Case(NUMBER, ANY, {"n": 1}, {"x": 1}, ("UNI", "SINGLE")),
    "many items": Case(NUMBER, MANY_IN, {"n": 1}, [{"n": 1}], ("MULTI", "SINGLE")),
    "one value instead of many": Case(NUMBER, MANY_IN, {"n": 1}, {"n": 1}, "INPUT_INVALID"),
    "one item again": Case(MANY_IN, NUMBER, [{"n": 1}], {"n": 1}, ("UNI", "SINGLE")),
    "many results": Case(NUMBER, MANY_OUT, {"n": 1}, {"n": 1}, ("UNI", "MATERIALIZED_MULTI")),
    "one result again": Case(MANY_OUT, NUMBER, {"n": 1}, {"n": 1}, ("UNI", "SINGLE")),
}


def single(owner: Tenant, value: Any, key: str) -> Submission | CoordinatorError:
    [verdict] = submit_many(owner, [ExecutionRequest(making.PIPELINE, value, key)], actor="token:test")
    return verdict


def batch(owner: Tenant, value: Any, key: str) -> Submission | CoordinatorError:
    requests = [ExecutionRequest(making.PIPELINE, value, f"{key}-{number}") for number in range(3)]
    return submit_many(owner, requests, actor="token:test")[-1]


def summary(verdict: Submission | CoordinatorError) -> str | tuple[str, str]:
    """Return the error code, or the shapes of input and result."""
    if isinstance(verdict, CoordinatorError):
        return verdict.code
    execution = Execution.objects.get(pk=verdict.execution_id)
    return execution.input_shape, execution.result_shape


def hosted(owner: Tenant, version: str, contract: Contract) -> Release:
    release = making.registered(owner, version, **contract)
    making.worker(release, f"worker-{version}")
    return release


@cases(("name", "send"), [*((name, single) for name in CASES), ("another type", batch), ("many results", batch)])
def test_an_activation_changes_the_contract_of_the_next_submission(
    name: str, send: Callable[[Tenant, Any, str], Submission | CoordinatorError]
) -> None:
    case, owner = CASES[name], making.tenant()
    first, second = hosted(owner, "1.0", case.before), hosted(owner, "2.0", case.after)
    activate(first, actor="user:test")
    assert isinstance(send(owner, case.warm, "warm"), Submission)
    assert admission.cached(owner, making.PIPELINE) is not None
    activate(second, actor="user:test")
    assert summary(send(owner, case.value, "new")) == case.expected
    # The cached contract of the second release does not apply to the first one either.
    activate(first, actor="user:test", reason="back")
    assert isinstance(send(owner, case.warm, "again"), Submission)
    assert Execution.objects.filter(tenant=owner, release=first, execution_key__startswith="again").exists()


def test_a_release_without_a_contract_does_not_use_the_previous_one() -> None:
    owner = making.tenant()
    first = hosted(owner, "1.0", MANY_OUT)
    document = making.descriptor(making.contract(), b"", "2.0", kind="container-image")
    second = making.verified(making.upload(owner, document).release)
    making.worker(second, "worker-2", artifact_digest=second.artifacts.get().digest)
    activate(first, actor="user:test")
    single(owner, {"n": 1}, "warm")
    activate(second, actor="user:test")
    assert summary(single(owner, ["any"], "new")) == ("UNI", "SINGLE")
    activate(first, actor="user:test", reason="back")
    assert summary(single(owner, ["any"], "again")) == "INPUT_INVALID"


# --- expiry and bounds of the cache ---


def test_a_cached_admission_expires_for_all_callers(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, _ = making.ready()
    clock = Clock(monkeypatch)
    making.execution(owner)
    kept = admission.cached(owner, making.PIPELINE)
    assert kept is not None
    clock.ahead += 0.6 * settings.SUBMISSION_CACHE_SECONDS
    assert [admission.cached(owner, making.PIPELINE) for _ in range(2)] == [None, kept]
    clock.ahead += 0.5 * settings.SUBMISSION_CACHE_SECONDS
    assert [admission.cached(owner, making.PIPELINE) for _ in range(2)] == [None, None]


def test_a_pipeline_that_is_not_ready_is_not_cached() -> None:
    owner, _ = making.ready()
    making.silence(*Worker.objects.all())
    refused = single(owner, {"n": 1}, "k")
    assert isinstance(refused, CoordinatorError)
    assert admission.cached(owner, making.PIPELINE) is None


def test_the_cache_of_admissions_is_bounded() -> None:
    owners = [making.ready()[0] for _ in range(3)]
    known = admission.current(owners[0], making.PIPELINE)
    for number in range(9_998):
        admission.cache.set((owners[0].pk, f"another-{number}"), known)
    for owner in owners:
        making.execution(owner)
    kept = [admission.cached(owner, making.PIPELINE) is not None for owner in owners]
    assert kept == [False, False, True]
