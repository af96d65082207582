"""What is wrong with a document or an artifact: findings with stable codes, and the error that carries
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding weighs: an error rejects the document, a warning is only shown."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule.

    `code` is stable and UPPER_SNAKE; `field` is a path such as `pipeline-release.json#artifacts[0].digest`,
    or only the document when the rule is about all of it; `message` is for people, in the protocol page's
    words where the page has words. None of them holds a character that cannot be stored.
    """

    code: str
    field: str
    message: str
    severity: Severity = Severity.ERROR

    def to_json(self) -> dict[str, str]:
        """Return the finding as a JSON object; `from_json` reads it back."""
        return {
            "code": self.code,
            "field": self.field,
            "message": self.message,
            "severity": self.severity.value,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, str]) -> Finding:
        """Read what `to_json` wrote. Raises KeyError or ValueError on anything else."""
        return cls(
            code=document["code"],
            field=document["field"],
            message=document["message"],
            severity=Severity(document["severity"]),
        )


class DocumentError(Exception):
    """A document is refused; `findings` says everything that is known to be wrong with it, never nothing."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings: tuple[Finding, ...] = tuple(findings)
        super().__init__("; ".join(finding.message for finding in self.findings))
