"""The moves that the code accepts. The database rejects the same ones (see tests/invariants)."""

from itertools import product
from uuid import uuid4

import pytest

from executions.models.states import MOVES, State
from executions.state_machine import moves


def test_the_code_rejects_every_move_that_its_table_does_not_have() -> None:
    for source, target in product(State, State):
        if target not in MOVES[source]:
            move = moves.Move(execution_id=uuid4(), source=source, target=target, kind="", actor="", data={})
            with pytest.raises(ValueError, match=f"no move from {source} to {target}"):
                moves.apply([move])
