"""The W3C trace context of a span, as text: `00-TRACE-SPAN-FLAGS`. Pure."""

import re

FORM = r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
"""A context in the version of the standard that this package writes."""
SQL_FORM = "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"
LONGEST_HEADER = 200
"""How many characters a received header may have. Later versions of the standard may append members."""
NONE = ""
"""No context: the caller does not trace."""

_RECEIVED = re.compile(rf"(?!ff)[0-9a-f]{{2}}-({FORM[3:]})(-.*)?", re.ASCII)
_SAMPLED = 1


def received(header: str) -> str:
    """Return the context in a header from outside, in this version; NONE if it has none.

    A malformed header is no error: the standard says to start over.
    """
    match = _RECEIVED.fullmatch(header) if len(header) <= LONGEST_HEADER else None
    if match is None or (header.startswith("00") and match[2]):
        return NONE
    return f"00-{match[1]}"


def is_sampled(traceparent: str) -> bool:
    """Return True if the spans of a context are to be exported."""
    return traceparent != NONE and bool(int(traceparent[-2:], 16) & _SAMPLED)


def trace_id(traceparent: str) -> str:
    """Return the id of the trace; empty without a context."""
    return traceparent[3:35]
