"""What the responses about pipelines, releases, activations and executions contain."""

from datetime import datetime
from typing import Any

import pytest

from releases.models import Release
from releases.registration.registrar import verify_release
from tests import making
from tests.api.furnished import conforms
from tests.api.tenant_api import TenantApi, upload
from tests.cases import cases

TRACEBACK = 'Traceback (most recent call last):\n  File "orders.py", line 1, in act\nBadThing: why'
pytestmark = pytest.mark.django_db
PIPELINE = "pipelines/{pipeline_id}"
RELEASES = f"{PIPELINE}/releases"
EXECUTION = "executions/{execution_id}"


def test_a_release_is_uploaded_and_verified(ours: TenantApi, document: dict[str, Any]) -> None:
    response = ours.post(RELEASES, upload("2.0"))
    taken = conforms(document, "POST", RELEASES, response)
    assert (response.status_code, taken["status"], taken["contract"], taken["active"]) == (202, "UPLOADED", None, False)
    assert response.headers["Location"] == f"http://testserver{ours.url(RELEASES)}/2.0"
    [artifact] = taken["artifacts"]
    assert artifact["size"] > 0
    assert artifact["stepIds"] == artifact["capabilities"] == []
    refused = ours.post(f"{PIPELINE}/activations", {"releaseVersion": "2.0"}).json()
    assert (refused["code"], refused["releaseStatus"]) == ("RELEASE_NOT_REGISTERED", "UPLOADED")
    verify_release(Release.objects.get(release_version="2.0", pipeline=ours.release.pipeline).pk)
    response = ours.post(RELEASES, upload("2.0"))
    again = conforms(document, "POST", RELEASES, response)
    assert (response.status_code, again["status"]) == (200, "REGISTERED")
    assert again["contract"]["contractVersion"] == again["contractVersion"]
    assert again["uploadedBy"].startswith("token:client-")
    assert ours.call("GET", response.headers["Location"]).json() == again


@cases("failed", [True, False])
def test_a_finished_execution_shows_its_result_or_error(
    ours: TenantApi, document: dict[str, Any], failed: bool
) -> None:
    before = ours.get(f"{EXECUTION}/result").json()
    assert (before["status"], before["result"]) == ("QUEUED", None)
    [claim] = making.claimed(ours.tenant)
    failure = making.failure(claim, "BadThing", retryable=False, traceback=TRACEBACK)
    reported = failure if failed else making.outcome_of(claim)
    making.record(reported)
    shown, result, events = (
        conforms(document, "GET", EXECUTION + path, ours.get(EXECUTION + path)) for path in ("", "/result", "/events")
    )
    status = "FAILED" if failed else "SUCCEEDED"
    assert shown["status"] == result["status"] == events["items"][-1]["status"] == status
    assert shown["error"] == ({"code": "BadThing", "message": "why", "traceback": TRACEBACK} if failed else None)
    assert events["items"][-1]["data"].get("traceback") == (TRACEBACK if failed else None)
    assert result["result"] == (None if failed else {"n": 1})
    assert [event["sequence"] for event in events["items"]] == [1, 2, 3]
    assert datetime.fromisoformat(shown["finishedAt"]) >= datetime.fromisoformat(shown["createdAt"])
