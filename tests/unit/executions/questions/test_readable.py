"""Names in words, and values as readable fields."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from executions.questions.readable import As, Readable, readable, telling_fields
from executions.questions.words import person, readable_name, title_of
from pipelines.authoring.definition import step_id
from tests.cases import cases

WORDS = st.lists(st.from_regex(r"[a-z]{2,8}", fullmatch=True), min_size=1, max_size=5)


@cases(
    ("step", "title"),
    [
        ("ProcessApproveClaimService", "Approve claim"),
        ("ProcessAwaitRestaurantDecisionService", "Await restaurant decision"),
        ("ProcessCheckVATNumberService", "Check VAT number"),
        ("ProcessApprove2ndLevelService", "Approve 2nd level"),
        ("Approve", "Approve"),
        ("ProcessService", "Process service"),
        ("Process", "Process"),
        ("approve_claim", "Approve claim"),
        ("approve-claim", "Approve claim"),
        ("Approve Claim", "Approve claim"),
        ("org.example.Approve", "org.example.Approve"),
        ("<b>x</b>", "<b>x</b>"),
        ("", ""),
    ],
)
def test_the_title_of_a_step_is_its_authors_name(step: str, title: str) -> None:
    assert title_of(step) == title


@given(WORDS)
def test_the_title_is_the_name_from_which_the_step_id_was_built(words: list[str]) -> None:
    name = " ".join(words)
    assert title_of(step_id(name)) == name[:1].upper() + name[1:]


def test_names_of_members_are_words_and_users_are_shown_without_their_kind() -> None:
    names = {
        "claimId": "Claim id",
        "claim_id": "Claim id",
        "IBAN": "IBAN",
        "customerVATId": "Customer VAT id",
        "n": "N",
    }
    assert {name: readable_name(name) for name in names} == names
    assert (person("user:eva"), person("token:erp")) == ("eva", "token:erp")


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


def test_a_moment_is_shown_as_a_time() -> None:
    assert readable("2026-07-01T10:30:00Z").shown_as is As.TIME
    assert readable("2026-07-01T10:30:00").shown_as is As.TEXT
    assert readable("2026-99-01T10:30:00Z").shown_as is As.TEXT


@cases("value", [[[[[[[[[1]]]]]]]], {"a": {"a": {"a": {"a": {"a": {"a": {"a": 1}}}}}}}])
def test_what_nests_too_deeply_is_left_to_the_json(value: Any) -> None:
    found = readable(value)
    while found.values:
        [found] = found.values
    assert found.shown_as is As.MORE


def test_large_values_are_cut_with_the_number_of_what_is_left_out() -> None:
    rows = readable([{"n": number} for number in range(1000)])
    assert (len(rows.rows), rows.more) == (50, 950)
    facts = readable({f"m{number}": number for number in range(1000)})
    assert (len(facts.values) + facts.more, len(facts.values) < 500) == (1000, True)
    assert len(readable("x" * 10_000).text) == 2001


@given(st.recursive(st.one_of(st.none(), st.booleans(), st.text(), st.integers()), lambda inner: st.one_of(
    st.lists(inner), st.dictionaries(st.text(), inner)), max_leaves=50))  # fmt: skip
def test_every_value_is_readable(value: Any) -> None:
    assert len(texts(readable(value))) < 2000


def test_names_amounts_and_ids_tell_requests_apart() -> None:
    members = {
        "flag": True,
        "zip": "1010",
        "claimId": "c-7",
        "amount": 12,
        "customerName": "Ann",
        "empty": "",
        "off": False,
    }
    assert telling_fields(members) == [("Customer name", "Ann"), ("Amount", "12"), ("Claim id", "c-7")]
    assert telling_fields({"text": "x" * 100}) == [("Text", "x" * 39 + "…")]
    assert telling_fields({}) == []
