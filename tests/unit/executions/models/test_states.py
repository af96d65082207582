"""The automaton of an execution, against the house's table written out again."""

from itertools import product

from executions.models.states import DUE, MOVES, TERMINAL, State, legal
from foundation.database.guarded_update import sources
from tests.cases import cases

Q, R, W, X = State.QUEUED, State.RUNNING, State.WAIT_RETRY, State.WAITING_EXTERNAL
S, F, D, C = State.SUCCEEDED, State.FAILED, State.DLQ, State.CANCELLED

LEGAL = {
    *{(Q, R), (Q, F), (Q, C)},
    *{(R, S), (R, X), (R, W), (R, F), (R, D), (R, Q), (R, C)},
    *{(W, R), (W, F), (W, C)},
    *{(X, Q), (X, F), (X, C)},
    *{(F, Q), (D, Q)},
}


@cases(("source", "target"), list(product(State, State)))
def test_every_pair_of_states_is_a_move_only_where_the_table_says_so(source: State, target: State) -> None:
    assert legal(source, target) is ((source, target) in LEGAL)


def test_every_state_has_its_moves_listed_even_where_there_are_none() -> None:
    assert set(MOVES) == set(State)


def test_what_is_terminal_leaves_only_by_a_re_drive() -> None:
    assert {S, F, D, C} == TERMINAL
    assert {state: MOVES[state] for state in TERMINAL} == {S: set(), C: set(), F: {Q}, D: {Q}}


def test_only_what_is_due_can_be_claimed() -> None:
    assert set(sources(MOVES, R)) == DUE == {Q, W}
