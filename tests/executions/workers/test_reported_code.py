from typing import Any

import pytest

from executions import tasks
from executions.errors import WorkerUnavailable
from executions.models import Worker
from executions.workers.eligibility import require_healthy
from executions.workers.registry import INSTRUCT_TASK, drain
from executions.workers.tenant_keys import active_keys
from releases import policy
from releases.models import Pipeline, Release
from tenancy.models import Tenant
from tests import making
from tests.broker import taken
from tests.cases import cases
from tests.executions.workers.test_workers import heartbeat
from tests.wakeups import announced
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Instruction, WorkerEnvironment
from wire.messages.queues import instruction_queue_of
from wire.messages.sealing import decode, verify

pytestmark = pytest.mark.django_db
MISSING = "b is not installed, required is 2"


@pytest.fixture(scope="module")
def world(module_world: None) -> tuple[Tenant, Release]:
    owner = making.tenant()
    return owner, making.active(owner)


def environment(fingerprint: str = "1", *differences: str, count: int | None = None) -> WorkerEnvironment:
    total = len(differences) if count is None else count
    about = {"fingerprint": fingerprint, "python": "cpython 3.12.1", "platform": "linux-x86_64"}
    return WorkerEnvironment(**about, differences=list(differences), difference_count=total)


def events(worker: Worker) -> list[dict[str, Any]]:
    found = [event.data for event in worker.events.order_by("id")]
    assert found[0]["cause"] == "REGISTERED"
    return found[1:]


def reported(worker: Worker) -> tuple[Any, ...]:
    return worker.code, worker.environment_fingerprint, worker.environment, worker.difference_count


NOTHING = ("", "", None, 0)


def test_the_row_of_a_worker_has_what_its_newest_heartbeat_reports(release: Release) -> None:
    worker = heartbeat(release)
    assert (reported(worker), events(worker)) == (NOTHING, [])
    stored = {"python": "cpython 3.12.1", "platform": "linux-x86_64", "differences": [MISSING]}
    for second, code in enumerate(("artifact", "source", "image"), 1):
        worker = heartbeat(release, second, code=code, environment=environment("1", MISSING, count=60))
        assert reported(worker) == (code, "1", {**stored, "differenceCount": 60}, 60)
    assert heartbeat(release, 8, environment=environment("1", "a", "b", count=0)).difference_count == 2
    assert reported(heartbeat(release, 9)) == NOTHING


def test_a_change_of_the_code_or_the_environment_is_an_event(release: Release) -> None:
    for second, code in enumerate(("artifact", "artifact", "source", None)):
        worker = heartbeat(release, second, code=code, environment=environment("1"))
    worker = heartbeat(release, 8, environment=environment("2"))
    assert events(worker) == [
        {"cause": "CODE_CHANGED", "code": "source", "previousCode": "artifact"},
        {"cause": "CODE_CHANGED", "code": None, "previousCode": "source"},
        {"cause": "ENVIRONMENT_CHANGED", "fingerprint": "2", "previousFingerprint": "1"},
    ]


def allow(release: Release) -> None:
    policy.change(release.pipeline, {"unverifiedWorkers": "allow"}, actor="user:admin")


def is_drained(worker: Worker, identity: ReleaseIdentity) -> bool:
    tasks.tell_worker(worker.pk)
    [(_, [message])] = taken(instruction_queue_of(identity, worker.worker_id))
    return decode(verify(message, active_keys), Instruction).drain


def test_a_worker_with_unverified_code_is_refused_and_instructed_to_drain_unless_the_policy_allows_it(
    owner: Tenant, release: Release
) -> None:
    assert Pipeline.objects.get().unverified_workers == "refuse"
    worker = heartbeat(release, code="source")
    with pytest.raises(WorkerUnavailable, match="current states: w=UNVERIFIED_CODE"):
        require_healthy(release)
    assert is_drained(worker, release.identity)
    allow(release)
    require_healthy(release)
    assert not is_drained(worker, release.identity)
    drain(owner, making.PIPELINE, "w", actor="user:olga")
    assert is_drained(worker, release.identity)


@cases(("taking", "allowed"), [(True, False), (False, True), (True, True)])
def test_a_worker_that_does_not_follow_the_policy_gets_an_instruction(
    release: Release, taking: bool, allowed: bool
) -> None:
    if allowed:
        allow(release)
    heartbeat(release, code="source")
    with announced() as wakeups:
        heartbeat(release, 1, code="source", taking=taking)
    assert (INSTRUCT_TASK in [each[0] for each in wakeups]) == (taking != allowed)
