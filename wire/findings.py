"""Findings about a document or an artifact, with stable codes, and the error that contains them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """The severity of a finding. An error rejects the document; a warning is only shown."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule.

    `code` is stable and in UPPER_SNAKE_CASE. `field` is a path such as `pipeline-release.json#artifacts[0].digest`, or
    the name of the document if the rule concerns all of it. `message` is for people, in the wording of the wire
    protocol where it has one. All three contain only characters that can be stored.
    """

    code: str
    field: str
    message: str
    severity: Severity = Severity.ERROR

    def to_json(self) -> dict[str, str]:
        """Return the finding as a JSON object, which `from_json` reads."""
        return {"code": self.code, "field": self.field, "message": self.message, "severity": self.severity.value}

    @classmethod
    def from_json(cls, document: Mapping[str, str]) -> Finding:
        """Return the finding in a JSON object of `to_json`. Raises KeyError or ValueError for other objects."""
        return cls(
            code=document["code"],
            field=document["field"],
            message=document["message"],
            severity=Severity(document["severity"]),
        )


class CodedError(Exception):
    """An error with a stable `code`. The text is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class DocumentError(Exception):
    """A document is rejected. `findings` contains all findings about it, at least one."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings: tuple[Finding, ...] = tuple(findings)
        super().__init__("; ".join(finding.message for finding in self.findings))
