"""Why an attempt to send a message failed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failure:
    """`reason` contains no secret. If `final` is true, another attempt cannot help."""

    reason: str
    final: bool
