"""The identity of a release, to which executions are pinned, the ids of steps, and the rules of names. Pure."""

import re
import unicodedata
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReleaseIdentity:
    """Identifies a release. Its text names all parts, for log lines and messages."""

    tenant_id: str
    pipeline_id: str
    contract_version: str
    release_version: str

    def __str__(self) -> str:
        return (
            f"tenantId={self.tenant_id}, pipelineId={self.pipeline_id}, "
            f"contractVersion={self.contract_version}, releaseVersion={self.release_version}"
        )


RULE = (
    "must be printable text without control, bidirectional or other invisible characters, in Unicode's form NFC, "
    "without blanks at either end, and not . or .."
)
SEGMENT_RULE = f"{RULE}; it cannot contain /"
PATTERN = r"^[^\s\u0000-\u001f\u007f-\u009f]([^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f])?$"
"""What an ECMA 262 pattern can say of RULE: no control characters, and no blanks at either end."""
SEGMENT_PATTERN = PATTERN.replace(r"\u0000-\u001f", r"/\u0000-\u001f")
LONGEST_GROUP = 100
"""How many characters the name of a group of members has, at most."""
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


def step_id(authored_name: str) -> str:
    """Return the id of a step, such as ``ProcessAskCookService`` for ``Ask cook``."""
    parts_of_name = authored_name.removeprefix("Process ").split(" ")
    return f"Process{''.join(word.lower().capitalize() for word in parts_of_name)}Service"
