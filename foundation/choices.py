"""Values with labels, for fields and pages. The settings and the clock use some of them, and load no models."""

from enum import StrEnum
from typing import Self


class Choices(StrEnum):
    """As Django's `TextChoices`, which would load all that models need. A field takes `choices()`."""

    label: str

    def __new__(cls, value: str, label: str = "") -> Self:
        member = str.__new__(cls, value)
        member._value_, member.label = value, label
        return member

    @classmethod
    def choices(cls) -> list[tuple[str, str]]:
        return [(member.value, member.label) for member in cls]
