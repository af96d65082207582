"""The product next to its model: what the operations share, and the comparison after each of them."""

import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import transaction
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant

from executions.awaits import interactions
from executions.models import AwaitUnit, DeadLetter, Execution, ExecutionEvent, Interaction
from executions.state_machine.moves import Claim
from foundation.errors import CoordinatorError
from releases.models import Release
from tenancy.models import Tenant
from tests.executions.model.model import OVER, Model


@dataclass(frozen=True)
class World:
    """The initial rows: two releases with one worker each, and another tenant."""

    owner: Tenant
    releases: list[Release]
    stranger: Tenant


class Machine(RuleBasedStateMachine):
    """Compares the rows with the models after each operation. Each run is rolled back at its end."""

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

    # --- for the operations ---

    def states(self) -> list[str]:
        return sorted({model.state for model in self.models.values()})

    def some(self, *states: str) -> list[uuid.UUID]:
        return [key for key, model in self.models.items() if model.state in states]

    def choose(self, data: st.DataObject, *states: str) -> uuid.UUID:
        return data.draw(st.sampled_from(self.some(*states)))

    def holds(self, claim: Claim) -> bool:
        return self.models[claim.execution_id].lease == claim.lease_token

    def complete(self, one: uuid.UUID, answer: Any) -> interactions.Completion:
        return interactions.complete(self.world.owner, interaction_id=one, response=answer, actor="user:eva")

    def refused(self, request: Callable[[], Any], code: str) -> None:
        with pytest.raises(CoordinatorError) as caught:
            request()
        assert caught.value.code == code
