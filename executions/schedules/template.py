"""The template of a schedule's input: JSON in which whole texts such as `{{scheduledAt}}` stand for values. Pure."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

NAMES: Final = ("scheduledAt", "scheduledDate", "scheduleName")
"""The time in UTC, its date in the time zone of the schedule, and the name of the schedule."""
RULE: Final = f"has an unknown name; known: {', '.join(f'{{{{{name}}}}}' for name in NAMES)}"
_PLACE: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}", re.ASCII)


def text_of(at: datetime) -> str:
    """Return a time as RFC 3339 in UTC, such as 2026-12-24T01:30:00Z."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def expanded(template: Any, *, at: datetime, zone: ZoneInfo, name: str) -> Any:
    """Return the input of the fire at `at`."""
    values = {"scheduledAt": text_of(at), "scheduledDate": at.astimezone(zone).date().isoformat(), "scheduleName": name}
    return _replaced(template, values)


def unknown_places(template: Any, path: str = "input") -> Iterator[str]:
    """Yield the paths of texts that name an unknown value."""
    if isinstance(template, dict):
        for name, value in template.items():
            yield from unknown_places(value, f"{path}.{name}")
    elif isinstance(template, list):
        for index, value in enumerate(template):
            yield from unknown_places(value, f"{path}[{index}]")
    elif isinstance(template, str) and (match := _PLACE.fullmatch(template)) and match[1] not in NAMES:
        yield path


def _replaced(template: Any, values: dict[str, str]) -> Any:
    if isinstance(template, dict):
        return {name: _replaced(value, values) for name, value in template.items()}
    if isinstance(template, list):
        return [_replaced(value, values) for value in template]
    match = _PLACE.fullmatch(template) if isinstance(template, str) else None
    return values.get(match[1], template) if match else template
