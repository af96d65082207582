"""The automaton of an execution, against the house's table written out again."""

from itertools import product

from executions.models.states import DUE, MOVES, TERMINAL, State, legal
from foundation.database.guarded_update import sources

Q, R, W, X = State.QUEUED, State.RUNNING, State.WAIT_RETRY, State.WAITING_EXTERNAL
S, F, D, C = State.SUCCEEDED, State.FAILED, State.DLQ, State.CANCELLED

LEGAL = {
    *{(Q, R), (Q, F), (Q, C)},
    *{(R, S), (R, X), (R, W), (R, F), (R, D), (R, Q), (R, C)},
    *{(W, R), (W, F), (W, C)},
    *{(X, Q), (X, F), (X, C)},
    *{(F, Q), (D, Q)},
}


def test_the_moves_are_those_of_the_table() -> None:
    assert {(source, target) for source, target in product(State, State) if legal(source, target)} == LEGAL
    assert set(MOVES) == set(State)
    assert {S, F, D, C} == TERMINAL
    assert {state: MOVES[state] for state in TERMINAL} == {S: set(), C: set(), F: {Q}, D: {Q}}


def test_only_what_is_due_can_be_claimed() -> None:
    assert set(sources(MOVES, R)) == DUE == {Q, W}
