"""The audit log has an entry for each change of the settings between two starts of a process."""

import json
from typing import Any

import pytest

from coordinator.settings_record import note_settings
from tenancy.audit import chain
from tenancy.models import AuditEntry

pytestmark = pytest.mark.usefixtures("committed")


def details() -> list[dict[str, Any]]:
    return [json.loads(entry.details) for entry in AuditEntry.objects.filter(act="settings.load").order_by("sequence")]


def test_only_a_start_with_other_settings_is_recorded(settings: Any) -> None:
    for process in ("web", "web", "worker", "web"):
        note_settings(process)
    assert ["changed" in each for each in details()] == [False, False]
    settings.S3_SECRET_ACCESS_KEY = "a-secret-of-the-store"
    note_settings("web")
    assert details()[-1]["changed"] == ["S3_SECRET_ACCESS_KEY"]
    assert "a-secret" not in "".join(f"{entry.__dict__}" for entry in chain.entries(None))
