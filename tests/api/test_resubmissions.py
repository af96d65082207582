"""REST of resubmissions of one execution."""

import uuid
from typing import Any

import pytest

from executions.models import Execution
from tenancy.models import Tenant
from tenancy.roles import Scope
from tests import making
from tests.api.caller import Caller
from tests.cases import cases
from tests.raw_sql import unchanged

pytestmark = pytest.mark.django_db
NEEDED = (Scope.READ, Scope.SUBMIT, Scope.OPERATE)


@pytest.fixture(scope="module")
def operator(owner: Tenant) -> Caller:
    return Caller(owner, *NEEDED)


@pytest.fixture(scope="module")
def dead(owner: Tenant) -> Execution:
    """A failed execution on 1.0. The release 1.1 was active before and has a worker."""
    [execution] = making.dead(owner, "key")
    making.worker(making.replaced(making.registered(owner, "1.1")), "worker-1.1")
    return execution


def test_the_new_execution_and_the_old_one_name_each_other(operator: Caller, dead: Execution) -> None:
    path = f"executions/{dead.pk}"
    body = {"reason": "fixed", "releaseVersion": "1.1", "input": {"n": 2}, "operationKey": "k", "expectedVersion": 2}
    new = operator.post(f"{path}/resubmit", body, 202)
    assert (new["status"], new["pin"]["releaseVersion"], new["version"]) == ("QUEUED", "1.1", 0)
    assert (new["resubmittedFrom"], new["resubmittedAs"]) == (str(dead.pk), [])
    assert new["idempotencyKey"] == f"resubmit:{dead.pk}:k"
    assert operator.get(f"executions/{new['executionId']}") == new
    old = operator.get(path)
    assert (old["status"], old["pin"]["releaseVersion"], old["resubmittedFrom"]) == ("DLQ", "1.0", None)
    [link] = old["resubmittedAs"]
    assert link.pop("createdAt")
    assert link == {
        "executionId": new["executionId"],
        "releaseVersion": "1.1",
        "status": "QUEUED",
        "edited": True,
        "checkpointStep": None,
        "reason": "fixed",
        "actor": f"token:{operator.token}",
        "campaignId": None,
    }
    found = operator.get(f"executions?resubmittedFrom={dead.pk}")["items"]
    assert [each["executionId"] for each in found] == [new["executionId"]]
    assert operator.get(f"executions?resubmittedFrom={uuid.uuid4()}")["items"] == []
    with unchanged():
        assert operator.post(f"{path}/resubmit", body, 202) == new, "the key is the same"
        refused = operator.post(f"{path}/resubmit", {**body, "input": 1}, 409)
    assert (refused["code"], refused["executionId"]) == ("RESUBMIT_KEY_REUSED", new["executionId"])


@cases(("body", "code"), [({"expectedVersion": 1}, "VERSION_MISMATCH"), ({"from": "checkpoint"}, "CHECKPOINT_MISSING")])
def test_a_refusal_has_a_code_and_changes_nothing(
    operator: Caller, dead: Execution, body: dict[str, Any], code: str
) -> None:
    with unchanged():
        assert operator.post(f"executions/{dead.pk}/resubmit", body, 409)["code"] == code
