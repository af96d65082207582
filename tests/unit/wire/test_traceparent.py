"""Trace contexts of callers."""

from tests.cases import cases
from wire.traceparent import LONGEST_HEADER, NONE, is_sampled, received, trace_id

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CONTEXT = f"00-{TRACE}-{SPAN}-01"


@cases("flags", ["00", "01", "02", "03", "ff"])
def test_a_context_is_taken_as_it_is(flags: str) -> None:
    context = f"00-{TRACE}-{SPAN}-{flags}"
    assert received(context) == context
    assert trace_id(context) == TRACE


@cases("header", [f"01-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-comes-later"])
def test_a_later_version_is_read_as_far_as_it_is_known(header: str) -> None:
    assert received(header) == CONTEXT


@cases(
    "header",
    [
        *("", CONTEXT[:-1], f"{CONTEXT}\n", f"{CONTEXT}-x", CONTEXT.upper(), CONTEXT.replace("00-", "ff-")),
        *(f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"01-{TRACE}-{SPAN}-01x"),
        f"01-{TRACE}-{SPAN}-01-{'x' * LONGEST_HEADER}",
    ],
)
def test_a_malformed_header_has_no_context(header: str) -> None:
    assert received(header) == NONE


def test_only_the_lowest_flag_samples() -> None:
    assert [is_sampled(CONTEXT[:-2] + flags) for flags in ("00", "01", "02", "03")] == [False, True, False, True]
    assert not is_sampled(NONE)
    assert trace_id(NONE) == ""
