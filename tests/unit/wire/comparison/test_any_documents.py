"""Contracts may say anything about types. A comparison of them never fails, and equal ones have no differences."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.wire.comparison.releases import contract, facts, step
from wire.comparison.comparison import compare
from wire.documents.contract import Contract

words = st.sampled_from(
    (
        *("kind", "id", "fields", "variants", "name", "discriminator", "payload", "type", "optional", "repeated"),
        *("target", "wraps", "key", "value", "pattern", "format", "minLength", "maxLength", "minimum"),
        *("minimumExclusive", "maximum", "record", "union", "wrapper", "alias", "map", "scalar", "named"),
        *("string", "json", "integer", "T", "U", "^(?:a|b)$", "1", "1e6144"),
    )
)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.just(10**400)
anything = st.recursive(
    words
    | numbers
    | st.booleans()
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=5),
    max_leaves=20,
)
scalar = st.builds(lambda name: {"kind": "scalar", "id": name}, st.sampled_from(("string", "integer", "json")) | words)
wrapped = st.builds(
    lambda wraps, limits: {"kind": "wrapper", "wraps": wraps, **limits},
    scalar | anything,
    st.dictionaries(
        st.sampled_from(("pattern", "minLength", "maxLength", "minimum", "maximum", "format")), anything | numbers
    ),
)
fields = st.dictionaries(words, anything, max_size=3).map(
    lambda more: {"name": "a", "type": {"kind": "named", "id": "U"}, **more}
)
records = st.lists(fields, max_size=2).map(lambda found: {"kind": "record", "fields": found})
definitions = wrapped | records | st.dictionaries(words, anything, max_size=6)


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    types = {name: draw(definitions) for name in ("T", "U")}
    return contract(step("A", inputTypeId="T", outputTypeId="U"), step("B", inputTypeId="U"), types=types)


@settings(deadline=None)
@given(contracts(), contracts())
def test_a_comparison_never_fails(before: Contract, after: Contract) -> None:
    found = compare(facts(before), facts(after))
    assert all(each.reason and each.path for each in found)
    assert compare(facts(before), facts(before)) == ()
