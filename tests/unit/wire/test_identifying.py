"""Which texts are identifiers and path segments."""

from tests.cases import cases
from tests.hostile_values import TEXTS
from wire.identifying import is_identifier, is_segment

GOOD = ("1.0", "sha256:abc", "Validate <Order>", "...", ".hidden", "été", "日本語", "\N{GRINNING FACE}", "x" * 5000)
BAD = (
    *("nothing", "blanks", "a leading blank", "a newline", "U+0000", "a control character"),
    *("a bidirectional override", "an invisible character", "a filler", "a noncharacter"),
    *("one dot", "two dots", "not composed"),
)


INVISIBLE = [*"\0\t\n\x1f\x7f\x85\xa0\xad\u200e\u2028\u2066\ufe0f\ufeff\ud800"]


@cases("text", GOOD)
def test_visible_text_is_an_identifier(text: str) -> None:
    assert is_identifier(text)
    assert is_segment(text)


@cases("text", [" a", "a ", " ", "\u00a0a", "a\u00a0", *(TEXTS[name] for name in BAD)])
def test_ambiguous_text_and_text_with_a_blank_at_either_end_are_not_identifiers(text: str) -> None:
    assert not is_identifier(text)
    assert not is_segment(text)


@cases("character", INVISIBLE)
def test_an_identifier_has_no_invisible_characters(character: str) -> None:
    assert not any(is_identifier(text) for text in (character, f"a{character}", f"a{character}b", f"{character}b"))


def test_an_identifier_may_have_a_slash_and_a_segment_may_not() -> None:
    assert is_identifier("a/b")
    assert not is_segment("a/b")
