"""The operations of dispatchers and workers, and of attackers who have a worker's rights."""

import uuid
from dataclasses import replace
from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from executions.lifecycle import outcome
from executions.models import Execution, Interaction
from executions.state_machine import moves
from executions.state_machine.moves import Claim
from tests import making
from tests.executions.model.machine import Machine
from tests.raw_sql import run
from wire.messages.celery_messages import Checkpoint, Outcome, OutcomeGroup, transition_key


class Workers(Machine):
    """Claims executions, renews their leases and reports their outcomes."""

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
