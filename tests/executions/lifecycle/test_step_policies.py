"""What steps declare decides when their failures are retried, and the policy of the pipeline changes it."""

import json
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from executions.models import Execution
from executions.state_machine.moves import Claim
from executions.transports.celery import command_of, identity_of
from executions.transports.changed_steps import changed_steps
from governance.activation.activation import activate
from releases import policy
from releases.errors import PolicyInvalid
from releases.models import Pipeline
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.making import reached, record
from wire.messages.celery_messages import Command, Failure

pytestmark = pytest.mark.usefixtures("retries")
RETRIED = {"retries": 3, "delaySeconds": 1, "multiplier": 10, "maxDelaySeconds": 50, "jitter": False}
DECLARED = {"Book": {**RETRIED, "timeoutSeconds": 30}, "Pay": {"retries": 0, "parallel": 4}}


@pytest.fixture(scope="module")
def owner(module_world: None) -> Tenant:
    """A tenant with an active release that stores checkpoints. Its steps are Read, Book and Pay."""
    owner = making.tenant()
    document = making.contract(steps=making.steps("Read", "Book", "Pay"))
    activate(making.declaring(owner, document=document, checkpoints=True, steps=DECLARED), actor="user:test")
    return owner


def policed(owner: Tenant, **members: Any) -> None:
    policy.change(Pipeline.objects.get(tenant=owner), members, actor="user:test")


def failing(claim: Claim, step: int | None, **more: Any) -> None:
    failure = Failure(failure_class="Busy", message="why", retryable=True, step_index=step)
    record(making.outcome_of(claim, "FAILED", failure=failure), **more)


def again(owner: Tenant) -> Claim:
    Execution.objects.filter(tenant=owner).update(next_due_at=making.LONG_AGO)
    [claim] = making.claimed(owner)
    return claim


@cases(
    ("changes", "step", "delays"),
    ({}, 0, [10, 20]),
    ({}, None, [10, 20]),
    ({}, 7, [10, 20]),
    ({}, 1, [1, 10, 50]),
    ({}, 2, []),
    ({"retryLimit": 1, "retryDelaySeconds": 5.0}, 0, [5]),
    ({"retryLimit": 1, "retryDelaySeconds": 5.0}, 1, [1, 10, 50]),
    ({"steps": {"Book": {"retries": 1, "delaySeconds": 2.5}}}, 1, [2.5]),
    ({"steps": {"Read": {"retries": 1}, "Gone": {"retries": 9}}}, 0, [10]),
    ({"steps": {"Pay": {"multiplier": 1, "retries": 1}}}, 2, [10]),
)
def test_the_policy_of_a_step(owner: Tenant, changes: dict[str, Any], step: int | None, delays: list[float]) -> None:
    policed(owner, **changes)
    execution = making.execution(owner)
    for _ in range(len(delays) + 1):
        failing(again(owner), step)
    assert making.reread(execution).status == "DLQ"
    retried = execution.events.filter(kind="RETRY_SCHEDULED").order_by("sequence")
    assert [event.data["delaySeconds"] for event in retried] == delays


def test_a_checkpoint_and_an_await_begin_a_new_budget(owner: Tenant) -> None:
    execution = making.execution(owner)
    failing(again(owner), 0)
    failing(again(owner), 0)
    claim = again(owner)
    record(checkpoints=[reached(claim, 1, "1")])
    failing(claim, 1)  # in a later group
    failing(again(owner), 1)
    failing(again(owner), 1)
    claim = again(owner)
    policed(owner, steps={"Pay": {"retries": 1}})
    failing(claim, 2, checkpoints=[reached(claim, 2, "2")])  # in its group
    record(making.suspension(again(owner)))
    assert (making.reread(execution).status, execution.attempt, execution.budget_start) == ("WAITING_EXTERNAL", 6, 6)
    delays = [event.data["delaySeconds"] for event in execution.events.filter(kind="RETRY_SCHEDULED")]
    assert delays == [10, 20, 1, 10, 50, 10]


@cases(
    ("steps", "timeouts", "items"),
    ({}, {}, {}),
    ({"Book": {"retries": 8}}, {}, {}),
    (
        {"Book": {"timeoutSeconds": 12.5}, "Read": {"timeoutSeconds": 3}, "Gone": {"timeoutSeconds": 3}},
        {"0": 3, "1": 12.5},
        {},
    ),
    ({"Pay": {"retries": 8, "jitter": False, "timeoutSeconds": 3}}, {"2": 3}, {"2": {"retries": 8, "jitter": False}}),
)
def test_a_command_has_what_the_policy_changes(owner: Tenant, steps: Any, timeouts: Any, items: Any) -> None:
    policed(owner, steps=steps)
    making.execution(owner)
    claim = again(owner)
    command = command_of(claim, changes=changed_steps(identity_of(claim)))
    written = json.loads(command.model_dump_json(by_alias=True))
    sent = {name: written[name] for name in ("stepTimeouts", "itemPolicies") if name in written}
    assert sent == {name: value for name, value in (("stepTimeouts", timeouts), ("itemPolicies", items)) if value}
    assert Command.model_validate_json(command.model_dump_json(by_alias=True)) == command


@cases(
    ("protocols", "kind", "sent"),
    (["celery", "rest"], "internal", {0: 0.5}),
    (["celery", "rest"], "await", {}),
    (["rest"], "internal", {}),  # a release of another author, whose workers refuse the member
    (None, "internal", {}),
)
def test_the_policy_adds_timeouts_to_steps_of_this_product(
    protocols: list[str] | None, kind: str, sent: dict[int, float]
) -> None:
    capabilities = {"localTransitionExecution": False, "transitionWorkerProtocols": protocols}
    members: dict[str, Any] = {"capabilities": capabilities} if protocols else {}
    owner, release = making.ready(steps=[{**making.STEP, "kind": kind}], **members)
    policed(owner, steps={"Validate": {"timeoutSeconds": 0.5}})
    assert changed_steps(release.identity).timeouts == sent
    with CaptureQueriesContext(connection) as statements:
        assert changed_steps(release.identity).timeouts == sent
    assert len(statements) == 0


@cases(
    ("steps", "problem"),
    ({"Book": {"retries": 1001}}, r'steps\["Book"\].retries must be a whole number from 0 to 1000'),
    ({"Book": {"retries": True}}, "whole number"),
    ({"Book": {"delaySeconds": 10**400}}, "from 0 to 1800"),
    ({"Book": {"delaySeconds": float("nan")}}, "from 0 to 1800"),
    ({"Book": {"timeoutSeconds": 0}}, "from 0.1 to 604800"),
    ({"Book": {"jitter": 1}}, "must be true or false"),
    ({"Book": {"retryOn": ["OSError"]}}, 'no member "retryOn"'),
    ({"Book": {}}, "must be an object of retries"),
    ({"Book": 3}, "must be an object of retries"),
    ([], "must be an object"),
    ({f"n{number}": {"retries": 1} for number in range(1001)}, "at most 1000"),
)
def test_a_policy_stays_within_the_bounds(owner: Tenant, steps: Any, problem: str) -> None:
    with pytest.raises(PolicyInvalid, match=problem):
        policed(owner, steps=steps)
    assert Pipeline.objects.get(tenant=owner).step_policies == {}
