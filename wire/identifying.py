"""The rule for text that identifies something, such as a pipeline, a version, a step, a worker or a key. Pure.

Such text is compared, written to URLs and logs, and shown to people who make decisions based on it. So two texts that
look alike should be equal, and no part of a text may be invisible.
"""

import re
import unicodedata

RULE = (
    "must be printable text without control, bidirectional or other invisible characters, in Unicode's form NFC, "
    "without blanks at either end, and not . or .."
)
SEGMENT_RULE = f"{RULE}; it cannot contain /"
# Characters that are displayed as nothing although Unicode classifies them as letters, symbols or marks.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def is_identifier(text: str) -> bool:
    """Return True if `text` follows RULE. Callers limit the length."""
    if not text.isprintable() or text in {"", ".", ".."} or " " in (text[0], text[-1]):
        return False
    return text.isascii() or (unicodedata.is_normalized("NFC", text) and not _INVISIBLE.search(text))


def is_segment(text: str) -> bool:
    """Return True if `text` is an identifier that can be one segment of a URL's path."""
    return "/" not in text and is_identifier(text)
