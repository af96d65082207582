import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from executions.awaits import questions
from executions.lifecycle import rest_calls
from executions.models import Execution, Interaction, Worker
from executions.state_machine.moves import Claim
from executions.submission import admission
from executions.transports import rest
from executions.transports.rest_workers import register
from executions.workers.registry import REST
from releases.models import Pipeline, Recipients, Release
from tenancy.models import Tenant
from tests import making
from tests.executions.transports.rest.strict_worker import DTO, StrictWorker
from wire.worker_keys import worker_key

PIPELINE = "org.pipelineframework.restaurantapproval"
ORDER = {"requestId": "r1", "customerId": "c1", "amount": 27.5}
ORDER_TYPE = DTO + "PlaceRestaurantOrderRequestDto"
FAILED = "TransitionWorkerFailureException"
DECISION = {"accepted": {"orderId": str(uuid.uuid4()), "note": "ok"}}


@dataclass
class Flow:
    """An active release of the order flow, and the worker that is registered for it."""

    owner: Tenant
    release: Release
    double: StrictWorker
    worker: Worker

    def register(self, worker_id: str = "java-1", *, release: Release | None = None, **members: str) -> Worker:
        arguments = {"protocol": "rest", "endpoint": self.double.endpoint, "actor": "user:test", **members}
        return register(self.owner, (release or self.release).identity, worker_id=worker_id, **arguments)

    def host(self, release: Release) -> None:
        self.double.contract_version, self.double.release_version = release.contract_version, release.release_version
        self.worker = self.register(release=release)

    def check(self) -> None:
        rest.check(self.worker.pk)
        admission.cache.clear()

    def claim(self, **options: Any) -> Claim:
        [claim] = making.claimed(self.owner, **options)
        return claim

    def call(self, claim: Claim) -> bool:
        """Handle the message of the claim. Return False if the worker is not called."""
        return rest_calls.run(claim.execution_id, claim.lease_token)

    def dispatch(self) -> int:
        """Claim due executions, send the claims, and call the worker, as dispatch and its tasks do.

        Return the number of calls.
        """
        called = 0
        while claims := making.claimed(self.owner):
            assert {claim.protocol for claim in claims} == {REST}
            assert rest.send_claims(claims) == []
            for claim in claims:
                assert self.call(claim)
                called += 1
        return called

    def advance(self, made: Execution) -> Execution:
        self.dispatch()
        return making.reread(made)

    def run(self, *answers: Any, fault: str = "") -> Execution:
        """Submit an order and run it. The worker gives these answers first, or misbehaves."""
        self.double.answers, self.double.faults = list(answers), [fault] if fault else []
        return self.advance(submit(self))


def hosted(release: Release, serve: Callable[[StrictWorker], StrictWorker], settings: Any) -> Flow:
    """Serve a worker of the release, register it and check it. The policy is that of pipelines of `/tpf/admin`."""
    owner = release.pipeline.tenant
    Pipeline.objects.filter(pk=release.pipeline_id).update(recipients=Recipients.INFORM)
    secret = worker_key(settings.WORKER_SECRET, owner.slug).text
    double = serve(StrictWorker(PIPELINE, release.contract_version, release.release_version, secret))
    settings.REST_WORKER_ORIGINS = [double.origin]
    settings.REST_WORKER_TIMEOUT_SECONDS = 5
    flow = Flow(owner, release, double, Worker())
    flow.worker = flow.register()
    flow.check()
    double.requests.clear()
    return flow


def submit(flow: Flow, key: str = "k", **order: Any) -> Execution:
    return making.execution(flow.owner, key, {**ORDER, **order}, PIPELINE)


def parked(flow: Flow) -> tuple[Execution, Interaction]:
    made = flow.run()
    assert made.status == "WAITING_EXTERNAL", (made.error_code, made.error_message)
    return made, Interaction.objects.get(execution=made)


def answered(flow: Flow, question: Interaction, decision: Any = None) -> None:
    questions.answer(flow.owner, question_id=question.pk, response=decision or DECISION, actor="user:eva")


def altered(flow: Flow, change: Any) -> Execution:
    """Return an execution after its worker suspended it. `change` modifies the suspension."""

    def suspend(command: Any) -> Any:
        answer = flow.double.suspend(command, ORDER)
        change(answer["awaitSuspension"])
        return answer

    return flow.run(suspend)
