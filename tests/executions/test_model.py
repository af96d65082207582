"""Compares executions with a model: rows and history match it after any sequence of operations.

The model is plain Python, written from the diagram of states and not from the product. A state machine applies the
operations of workers, sweeps, operators and attackers to both, and compares them after each step.
"""

import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from executions.awaits import awaits, interactions
from executions.lifecycle import outcome, sweep
from executions.lifecycle.cancellation import cancel
from executions.lifecycle.redrive import redrive
from executions.models import AwaitUnit, DeadLetter, Execution, ExecutionEvent, Interaction
from executions.state_machine import moves
from executions.state_machine.moves import Claim
from executions.submission.submission import submit
from foundation.errors import CoordinatorError
from releases.activation.activation import activate
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.executions.model import OVER, RETRIES, TAKEOVERS, Model
from tests.raw_sql import run
from wire.messages.celery_messages import Checkpoint, Outcome, OutcomeGroup, transition_key

STEPS = [{**making.STEP, "index": index, "authoredName": f"Step {index}"} for index in range(3)]


@dataclass(frozen=True)
class World:
    """The initial rows: two releases with one worker each, and another tenant."""

    owner: Tenant
    releases: list[Release]
    stranger: Tenant


class Machine(RuleBasedStateMachine):
    """Applies operations to the product and to the model. Each run is rolled back at its end."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.block = transaction.atomic()
        self.block.__enter__()
        self.models: dict[uuid.UUID, Model] = {}
        self.claims: list[Claim] = []
        self.active = self.world.releases[0]

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.block.__exit__(None, None, None)

    # --- submitters ---

    @initialize()
    def begin(self) -> None:
        self.submit(key=0, value=0, release=0)
        self.submit(key=1, value=0, release=0)

    @rule(key=st.integers(0, 3), value=st.integers(0, 1), release=st.integers(0, 1))
    def submit(self, key: int, value: int, release: int) -> None:
        """An execution is pinned to the active release. A repeated key returns the first execution."""
        if self.active != self.world.releases[release]:
            self.active = self.world.releases[release]
            activate(self.active, actor="user:test")

        def request() -> Any:
            return submit(
                self.world.owner,
                pipeline_id=making.PIPELINE,
                input={"n": value},
                idempotency_key=f"key-{key}",
                actor="token:test",
            )

        first = Execution.objects.filter(tenant=self.world.owner, execution_key=f"key-{key}").first()
        if first is not None and first.input != {"n": value}:
            self.refused(request, "IDEMPOTENCY_KEY_REUSED")
            return
        made = request()
        assert made.duplicate == (first is not None)
        if first is None:
            self.models[made.execution.pk] = Model(pin=self.active.release_version)
        else:
            assert made.execution.pk == first.pk

    # --- claims and sweeps ---

    @rule(limit=st.integers(1, 3))
    def claim(self, limit: int) -> None:
        due = [key for key in self.some("QUEUED", "WAIT_RETRY") if self.models[key].due]
        # The database may claim any of the executions that are due at the same time. A repeatable run needs a fixed
        # choice.
        postpone = "UPDATE executions_execution SET next_due_at = next_due_at + %s WHERE id = ANY(%s)"
        run(postpone, timedelta(hours=1), due[limit:])
        claims = making.claimed(self.world.owner)
        run(postpone, timedelta(hours=-1), due[limit:])
        claims.sort(key=lambda claim: due.index(claim.execution_id))
        assert [claim.execution_id for claim in claims] == due[:limit]
        known = {claim.lease_token for claim in self.claims}
        for claim in claims:
            model = self.models[claim.execution_id]
            assert claim.lease_token not in known
            assert (claim.release_version, claim.version) == (model.pin, model.version + 1)
            assert (claim.step_index, claim.attempt) == (model.step, model.attempt)
            assert (model.step, model.attempt) not in model.keys
            model.claimed(claim.lease_token)
        self.claims += claims

    @precondition(lambda self: self.some("WAIT_RETRY"))
    @rule(data=st.data())
    def wait_is_over(self, data: st.DataObject) -> None:
        chosen = self.choose(data, "WAIT_RETRY")
        run("UPDATE executions_execution SET next_due_at = now() WHERE id = %s", chosen)
        self.models[chosen].due = True

    @precondition(lambda self: self.some("RUNNING"))
    @rule(data=st.data())
    def lease_expires(self, data: st.DataObject) -> None:
        lost = {self.choose(data, "RUNNING"), self.choose(data, "RUNNING")}
        sql = "UPDATE executions_execution SET lease_expires_at = now() - interval '1 second' WHERE id = ANY(%s)"
        run(sql, list(lost))
        assert sweep.expire_leases() == len(lost)
        assert sweep.expire_leases() == 0
        for each in lost:
            self.models[each].lost_lease()

    @precondition(lambda self: self.some("WAITING_EXTERNAL"))
    @rule(data=st.data(), swept=st.booleans())
    def deadline_passes(self, data: st.DataObject, swept: bool) -> None:
        """The sweep or a late answer detects the passed deadline, with the same result."""
        chosen = self.choose(data, "WAITING_EXTERNAL")
        model = self.models[chosen]
        assert model.unit is not None
        answers = self.models[chosen].units[model.unit].answers
        open_one = next(key for key, answer in answers.items() if answer is None)
        late = "UPDATE executions_interaction SET deadline = now() - interval '1 second' WHERE id = %s"
        run(late, open_one)
        if swept:
            assert (awaits.expire(), awaits.expire()) == (1, 0)
        else:
            self.refused(lambda: self.complete(open_one, {"late": True}), "AWAIT_TIMEOUT")
        model.timed_out()

    # --- workers ---

    @precondition(lambda self: self.claims)
    @rule(
        data=st.data(),
        kind=st.sampled_from(["completed", "fails", "not retryable", "malformed", "asks one", "asks two"]),
        twice=st.booleans(),
    )
    def outcome(self, data: st.DataObject, kind: str, twice: bool) -> None:
        """Report an outcome of a past or current lease, once, twice in a group, or again later."""
        held = [claim for claim in self.claims if self.holds(claim)]
        stale = not held or data.draw(st.integers(0, 3), label="stale if 0") == 0
        claim = data.draw(st.sampled_from(self.claims if stale else held))
        answer = self.answer(claim, kind)
        counts = self.holds(claim)
        assert self.record(claim, *[answer] * (1 + twice)) == counts
        model = self.models[claim.execution_id]
        if not counts:
            model.history.append(model.state)
            return
        model.recorded(kind)
        if kind.startswith("asks"):
            self.park(claim.execution_id)
        if data.draw(st.booleans(), label="repeated"):
            assert self.record(claim, answer) == 0
            model.history.append(model.state)

    @precondition(lambda self: any(claim.checkpoints for claim in self.claims))
    @rule(data=st.data())
    def checkpoint(self, data: st.DataObject) -> None:
        """Report a checkpoint. It is stored while its lease is held, and dropped otherwise."""
        claim = data.draw(st.sampled_from([each for each in self.claims if each.checkpoints]))
        model = self.models[claim.execution_id]
        reached = Checkpoint(
            execution_id=claim.execution_id,
            execution_version=claim.version,
            lease_token=claim.lease_token,
            transition_key=transition_key(claim.execution_id, claim.step_index, claim.attempt),
            next_step_index=claim.step_index + 1,
            output_payloads=["1"],
        )
        release = next(each for each in self.world.releases if each.release_version == claim.release_version)
        group = OutcomeGroup(worker_id="w", checkpoints=[reached])
        assert outcome.record(release.identity, group) == 0
        if self.holds(claim) and model.step <= claim.step_index:
            model.reached()

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), what=st.sampled_from(["token", "version", "release", "tenant", "execution"]))
    def forged_outcome(self, data: st.DataObject, what: str) -> None:
        """Report an outcome with one wrong member. If it names no execution of the sender, it gets no event."""
        claim = data.draw(st.sampled_from([each for each in self.claims if self.holds(each)] or self.claims))
        model = self.models[claim.execution_id]
        answer = self.answer(claim, "completed")
        release = next(each for each in self.world.releases if each.release_version == claim.release_version)
        identity = release.identity
        if what == "token":
            answer = answer.model_copy(update={"lease_token": uuid.uuid4()})
        if what == "version":
            answer = answer.model_copy(update={"execution_version": claim.version + 1})
        if what == "execution":
            answer = answer.model_copy(update={"execution_id": uuid.uuid4()})
        if what == "release":
            identity = next(each for each in self.world.releases if each != release).identity
        if what == "tenant":
            identity = replace(identity, tenant_id=self.world.stranger.slug)
        assert outcome.record(identity, OutcomeGroup(worker_id="w", outcomes=[answer])) == 0
        if what in {"token", "version"}:
            model.history.append(model.state)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        held = [(claim.execution_id, claim.lease_token), (claim.execution_id, uuid.uuid4())]
        counts = {claim.lease_token} if self.holds(claim) else set()
        assert moves.renew_leases(self.world.owner.pk, held, worker_id="w", lease_seconds=30) == counts
        assert moves.renew_leases(self.world.stranger.pk, held, worker_id="w", lease_seconds=30) == set()

    # --- operators ---

    @precondition(lambda self: self.known_interactions())
    @rule(data=st.data(), value=st.integers(1, 9))
    def answer_interaction(self, data: st.DataObject, value: int) -> None:
        execution_id, unit_id, one = data.draw(st.sampled_from(self.known_interactions()))
        model = self.models[execution_id]
        unit = model.units[unit_id]
        first = unit.answers[one]
        if first is None and unit.status != "WAITING_EXTERNAL":
            late = Interaction.objects.get(pk=one).status == "TIMED_OUT"
            assert not late or unit.status == "TIMED_OUT"
            self.refused(lambda: self.complete(one, value), "AWAIT_TIMEOUT" if late else "INTERACTION_CLOSED")
            return
        done = self.complete(one, value)
        assert done.duplicate == (first is not None)
        assert done.interaction.response == (value if first is None else first)
        if first is None:
            model.answered(one, value)

    @rule(data=st.data(), allow_failed=st.booleans(), stale=st.booleans())
    def redrive(self, data: st.DataObject, allow_failed: bool, stale: bool) -> None:
        chosen = self.choose(data, "DLQ", "FAILED", *([] if self.some("DLQ", "FAILED") else self.states()))
        model = self.models[chosen]

        def request() -> Any:
            version = model.version - stale
            more: dict[str, Any] = {"expected_version": version, "allow_failed": allow_failed}
            return redrive(self.world.owner, chosen, actor="user:eva", reason="fixed", **more)

        if model.state != "DLQ" and not (allow_failed and model.state == "FAILED"):
            self.refused(request, "REDRIVE_REFUSED")
        elif stale:
            self.refused(request, "VERSION_MISMATCH")
        else:
            assert request().previous_status == model.state
            model.redriven()

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sampled_from(list(self.models)))
        model = self.models[chosen]

        def request() -> Any:
            return cancel(self.world.owner, chosen, actor="user:eva", reason="a mistake")

        if model.state in OVER - {"CANCELLED"}:
            self.refused(request, "CANCEL_REFUSED")
            return
        request()
        if model.state != "CANCELLED":
            model.cancelled()

    # --- invariants ---

    @invariant()
    def executions_match_the_model(self) -> None:
        rows = {row.pk: row for row in Execution.objects.filter(tenant=self.world.owner)}
        assert rows.keys() == self.models.keys()
        for key, model in self.models.items():
            row = rows[key]
            assert (
                row.status,
                row.version,
                row.current_step_index,
                row.attempt,
                row.lease_token,
                row.await_unit_id,
            ) == (*(model.state, model.version, model.step, model.attempt, model.lease, model.unit),)
            assert (row.release_version, row.contract_version) == (model.pin, self.active.contract_version)
            assert (row.finished_at is not None) == (model.state in OVER)
            assert row.result == ([{"n": 1}] if model.state == "SUCCEEDED" else None)
            assert len(set(model.keys)) == len(model.keys)

    @invariant()
    def histories_have_no_gap(self) -> None:
        found: dict[uuid.UUID, list[tuple[int, str]]] = {key: [] for key in self.models}
        events = ExecutionEvent.objects.filter(execution__tenant=self.world.owner).order_by("sequence")
        for key, sequence, status in events.values_list("execution_id", "sequence", "status"):
            found[key].append((sequence, status))
        assert found == {key: list(enumerate(model.history, 1)) for key, model in self.models.items()}

    @invariant()
    def each_terminal_failure_has_one_letter(self) -> None:
        rows = DeadLetter.objects.filter(tenant=self.world.owner)
        found = rows.values_list("execution_id", "execution_version", "terminal_status", "reason")
        assert Counter(found) == Counter((key, *each) for key, model in self.models.items() for each in model.letters)
        assert len(set(rows.values_list("transition_key", flat=True))) == len(found)

    @invariant()
    def awaits_match_the_model(self) -> None:
        units = dict(AwaitUnit.objects.filter(tenant=self.world.owner).values_list("id", "status"))
        expected = {key: unit for model in self.models.values() for key, unit in model.units.items()}
        assert units == {key: unit.status for key, unit in expected.items()}
        answers = dict(Interaction.objects.filter(tenant=self.world.owner).values_list("id", "response"))
        assert answers == {key: answer for unit in expected.values() for key, answer in unit.answers.items()}

    # --- helpers ---

    def states(self) -> list[str]:
        return sorted({model.state for model in self.models.values()})

    def some(self, *states: str) -> list[uuid.UUID]:
        return [key for key, model in self.models.items() if model.state in states]

    def choose(self, data: st.DataObject, *states: str) -> uuid.UUID:
        return data.draw(st.sampled_from(self.some(*states)))

    def known_interactions(self) -> list[tuple[uuid.UUID, uuid.UUID, uuid.UUID]]:
        return [
            (key, unit_id, one)
            for key, model in self.models.items()
            for unit_id, unit in model.units.items()
            for one in unit.answers
        ]

    def holds(self, claim: Claim) -> bool:
        return self.models[claim.execution_id].lease == claim.lease_token

    def answer(self, claim: Claim, kind: str) -> Outcome:
        if kind == "malformed":
            return making.outcome_of(claim, stopped_before_step_index=claim.step_index + 1)
        if kind == "asks one":
            return making.suspension(claim)
        if kind == "asks two":
            return making.suspension(claim, itemized=True, requests=["1", "2"], request_shape="MULTI")
        if kind == "completed":
            return making.outcome_of(claim)
        return making.failure(claim, retryable=kind == "fails")

    def record(self, claim: Claim, *outcomes: Outcome) -> int:
        release = next(each for each in self.world.releases if each.release_version == claim.release_version)
        group = OutcomeGroup(worker_id="w", outcomes=list(outcomes))
        return outcome.record(release.identity, group)

    def park(self, execution_id: uuid.UUID) -> None:
        unit = Execution.objects.get(pk=execution_id).await_unit_id
        assert unit is not None
        rows = Interaction.objects.filter(unit=unit).order_by("item_index")
        self.models[execution_id].parked(unit, list(rows.values_list("pk", flat=True)))

    def complete(self, one: uuid.UUID, answer: Any) -> interactions.Completion:
        return interactions.complete(self.world.owner, interaction_id=one, response=answer, actor="user:eva")

    def refused(self, request: Callable[[], Any], code: str) -> None:
        with pytest.raises(CoordinatorError) as caught:
            request()
        assert caught.value.code == code


@pytest.mark.timeout(600)  # Hypothesis shrinks a failing run before it reports it
@pytest.mark.django_db
def test_executions_match_the_model_after_any_sequence_of_operations(settings: Any) -> None:
    settings.RETRY_LIMIT, settings.TAKEOVER_LIMIT = RETRIES, TAKEOVERS
    owner = making.tenant()
    releases = [release_of(owner, version) for version in ("1.0", "2.0")]
    activate(releases[0], actor="user:test")
    stranger, _ = making.ready()

    class Here(Machine):
        world = World(owner, releases, stranger)

    run_state_machine_as_test(Here, settings=RUNS)


RUNS = settings(
    max_examples=35,
    stateful_step_count=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def release_of(owner: Tenant, version: str) -> Release:
    """Make a release whose worker supports checkpoints after each step."""
    contract = making.contract(steps=STEPS)
    data = making.archive(contract, code=version)
    document = making.descriptor(contract, data, version)
    document["artifacts"][0]["capabilities"] = ["checkpoint-each-step"]
    release = making.verified(making.upload(owner, document, data).release)
    making.worker(release, f"worker-{version}", capacity=100, alive_until=None)
    return release
