"""Names in words, and values as readable fields."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from executions.questions.readable import As, Readable, readable
from executions.questions.words import title_of
from tests.cases import cases


@cases(
    ("step", "title"),
    [
        ("ProcessApproveClaimService", "Approve claim"),
        ("ProcessCheckVATNumberService", "Check VAT number"),
        ("ProcessService", "Process service"),
        ("approve_claim", "Approve claim"),
        ("org.example.Approve", "org.example.Approve"),
    ],
)
def test_the_title_of_a_step_is_its_authors_name(step: str, title: str) -> None:
    assert title_of(step) == title


def texts(found: Readable) -> list[str]:
    inner = [*found.values, *(value for row in found.rows for value in row)]
    return [found.text, *(text for each in inner for text in texts(each))]


def test_objects_are_facts_and_lists_of_flat_objects_are_tables() -> None:
    found = readable(
        {"claimId": "c", "lines": [{"sku": "a", "n": 1}, {"sku": "b"}], "tags": ["x"], "ok": True, "no": None}
    )
    assert [label for label, _ in found.facts] == ["Claim id", "Ok", "No", "Lines", "Tags"]
    _, ok, no, lines, tags = found.values
    assert (lines.shown_as, list(lines.labels)) == (As.TABLE, ["Sku", "N"])
    assert [[cell.text for cell in row] for row in lines.rows] == [["a", "1"], ["b", ""]]
    assert (tags.shown_as, tags.values[0].text) == (As.LIST, "x")
    assert (ok.text, no.shown_as) == ("Yes", As.NOTHING)


def test_large_values_are_cut_with_the_number_of_what_is_left_out() -> None:
    rows = readable([{"n": number} for number in range(1000)])
    assert (len(rows.rows), rows.more) == (50, 950)
    facts = readable({f"m{number}": number for number in range(1000)})
    assert (len(facts.values) + facts.more, len(facts.values) < 500) == (1000, True)
    assert len(readable("x" * 10_000).text) == 2001


@settings(max_examples=30)
@given(st.recursive(st.one_of(st.none(), st.booleans(), st.text(), st.integers()), lambda inner: st.one_of(
    st.lists(inner), st.dictionaries(st.text(), inner)), max_leaves=20))  # fmt: skip
def test_every_value_is_readable(value: Any) -> None:
    assert len(texts(readable(value))) < 2000
