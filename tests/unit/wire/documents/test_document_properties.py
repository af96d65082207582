"""Any sequence of bytes is read or refused with findings that can be stored."""

from __future__ import annotations

import json
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire.documents.examples import COMPOSED, CONTRACT, NEWER, changed
from wire.documents.contract import contract_from_json, parse_contract
from wire.documents.descriptor import parse_descriptor
from wire.findings import DocumentError, Finding

scalars = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9)
json_values = st.recursive(
    st.none() | scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
)


def refusal(read: Callable[[bytes], object], data: bytes) -> tuple[Finding, ...]:
    """Return the findings about `data`; none if it is accepted."""
    try:
        read(data)
    except DocumentError as error:
        return error.findings or (Finding("NOTHING_FOUND", "", "\0"),)
    return ()


MEMBERS = ["steps", "capabilities", "canonicalTypes", "composition", "importedDefinitions", "artifacts"]


@given(
    st.binary(max_size=200)
    | st.builds(
        lambda document, member, value: json.dumps(changed(document, member, value)).encode(),
        st.sampled_from([CONTRACT, COMPOSED, NEWER]),
        st.sampled_from(MEMBERS),
        json_values,
    )
)
def test_reading_raises_nothing_but_document_errors_with_storable_findings(data: bytes) -> None:
    for parse in (parse_contract, parse_descriptor):
        for finding in refusal(parse, data):
            assert Finding.from_json(json.loads(json.dumps(finding.to_json()).encode())) == finding
            assert "\0" not in finding.field + finding.message
            (finding.field + finding.message).encode()
    if not refusal(parse_contract, data):
        contract = parse_contract(data)
        assert contract_from_json(contract.normalised()) == contract
