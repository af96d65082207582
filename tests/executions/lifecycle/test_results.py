"""Results: outputs of a success that are stored and returned unchanged, or rejected."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executions.lifecycle import queries
from executions.models import Execution
from executions.state_machine.moves import Claim
from tests import making
from tests.cases import cases
from tests.executions.lifecycle.recording import record
from wire.documents import json_text

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("retries")]


def test_the_total_number_of_values_in_the_outputs_of_an_outcome_is_limited(claim: Claim, execution: Execution) -> None:
    half = "[" + "0," * (json_text.MOST_VALUES // 2) + "0]"
    assert record(claim, making.outcome_of(claim, output_payloads=[half, half])) == 1
    execution.refresh_from_db()
    assert (execution.status, execution.error_code) == ("FAILED", "UNDECODABLE_OUTPUT")


@cases(
    "text",
    [
        "",
        "{",
        "nonsense",
        '"\\u0000"',
        '{"a\\u0000": 1}',
        '["\\ud800"]',
        '{"\\udfff": 1}',
        "NaN",
        "[-Infinity]",
        "1e999",
        "[" * 501 + "]" * 501,
        "[" * 100_000,
        "9" * 5_000,
    ],
)
def test_an_output_that_cannot_be_stored_fails_the_execution(claim: Claim, execution: Execution, text: str) -> None:
    assert record(claim, making.outcome_of(claim, output_payloads=["1", text][-1:])) == 1
    execution.refresh_from_db()
    assert (execution.status, execution.error_code) == ("FAILED", "UNDECODABLE_OUTPUT")
    assert execution.error_message


@cases(
    "value", [None, 0, False, "", [], {}, "\\u0000", "back\\slash", "é 😀 \u2028", 10**400, 1e-7, -0.5, {"": {"": []}}]
)
def test_an_output_is_returned_unchanged(claim: Claim, execution: Execution, value: Any) -> None:
    record(claim, making.outcome_of(claim, output_payloads=[json.dumps(value)]))
    execution.refresh_from_db()
    assert execution.status == "SUCCEEDED"
    assert queries.result(execution) == value


def test_the_deepest_value_that_can_be_stored_can_be_read(claim: Claim, execution: Execution) -> None:
    deepest = "[" * 500 + "]" * 500
    record(claim, making.outcome_of(claim, output_payloads=[deepest]))
    execution.refresh_from_db()
    assert json.dumps(queries.result(execution)) == deepest


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")), inner)
    ),
)


@given(json_values)
def test_every_json_value_without_nul_is_storable(value: Any) -> None:
    assert json_text.storable(json.dumps(value)) == value
    assert json_text.storable(json.dumps(value, ensure_ascii=False)) == value


def test_two_outputs_of_a_single_result_are_retried(claim: Claim, execution: Execution) -> None:
    record(claim, making.outcome_of(claim, output_payloads=["1", "2"]))
    execution.refresh_from_db()
    assert (execution.status, execution.error_code) == ("WAIT_RETRY", "RESULT_SHAPE_MISMATCH")
    assert "2 terminal items for SINGLE" in str(execution.error_message)


def test_an_outcome_without_outputs_has_an_empty_result(claim: Claim, execution: Execution) -> None:
    record(claim, making.outcome_of(claim, output_payloads=[]))
    execution.refresh_from_db()
    assert (execution.status, execution.result, queries.result(execution)) == ("SUCCEEDED", [], None)


@cases("outputs", [[], ["1"], ["1", "null", "[2]"]])
def test_a_result_of_a_stream_is_a_list_of_any_length(outputs: list[str]) -> None:
    owner, _ = making.ready(steps=[{**making.STEP, "cardinality": "ONE_TO_MANY"}])
    execution = making.execution(owner)
    [claim] = making.claimed(owner)
    record(claim, making.outcome_of(claim, output_payloads=outputs))
    execution.refresh_from_db()
    assert queries.result(execution) == [json.loads(text) for text in outputs]
