"""What was active at a time, and the signed activation history, over REST."""

import base64
import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from releases.activation import history
from releases.activation.activation import activate
from releases.activation.revocation import revoke
from releases.activation.rollback import roll_back
from releases.models import Activation, Pipeline, Release
from releases.queries import pipeline
from tests import making
from tests.api.furnished import conforms
from tests.api.tenant_api import TenantApi, refused
from tests.cases import cases
from tests.raw_sql import run, unguarded
from wire.documents import activation_statement
from wire.documents.execution_statement import ENVELOPE_MEDIA_TYPE, PAYLOAD_TYPE

pytestmark = pytest.mark.django_db
ACTIVE = "pipelines/{pipeline_id}/active"
EXPORT = "pipelines/{pipeline_id}/history/export"


def read(ours: TenantApi) -> Pipeline:
    return pipeline(ours.tenant, making.PIPELINE)


@pytest.fixture
def times(ours: TenantApi) -> list[datetime]:
    """The times of 1.0, 2.0 and a rollback to 1.0."""
    activate(making.registered(ours.tenant, "2.0"), actor="user:ann", reason="faster")
    roll_back(read(ours), actor="user:eva", reason="it fails", recent_only=True)
    return list(read(ours).activations.order_by("sequence").values_list("activated_at", flat=True))


def at(moment: datetime) -> str:
    return f"{ACTIVE}?at={moment.isoformat().replace('+00:00', 'Z')}"


def test_at_each_time_the_newest_activation_that_is_not_later_counts(
    ours: TenantApi, times: list[datetime], document: dict[str, Any]
) -> None:
    instant = timedelta(microseconds=1)
    for moment, sequence, version in [
        *((times[0], 1, "1.0"), (times[1] - instant, 1, "1.0")),
        *((times[1], 2, "2.0"), (times[2] - instant, 2, "2.0"), (times[2], 3, "1.0")),
    ]:
        found = conforms(document, "GET", ACTIVE, ours.get(at(moment)))
        assert (found["activation"]["sequence"], found["activation"]["releaseVersion"]) == (sequence, version)
        assert datetime.fromisoformat(found["at"]) == moment
        replaced = found["replacedAt"] and datetime.fromisoformat(found["replacedAt"])
        assert replaced == (times[sequence] if sequence < 3 else None)
    newest = ours.get(ACTIVE).json()["activation"]
    assert (newest["kind"], newest["actor"], newest["reason"]) == ("rollback", "user:eva", "it fails")


def test_of_activations_at_one_time_the_last_one_counts(ours: TenantApi, times: list[datetime]) -> None:
    with unguarded(Activation):
        run("UPDATE releases_activation SET activated_at = %s WHERE sequence = 2", times[0])
    assert ours.get(at(times[0])).json()["activation"]["sequence"] == 2


def test_before_the_first_activation_none_was_active(ours: TenantApi, times: list[datetime]) -> None:
    refused(ours.get(at(times[0] - timedelta(microseconds=1))), 404, "NONE_ACTIVE_THEN")


def test_a_time_in_the_future_is_rejected(ours: TenantApi) -> None:
    found = refused(ours.get(at(timezone.now() + timedelta(minutes=1))), 422, "TIME_IN_FUTURE")
    assert [error["field"] for error in found["errors"]] == ["at"]


@cases(
    "query",
    [
        *("at=", "at=now", "at=2026-01-01", "at=2026-01-01T00:00:00", "at=2026-13-01T00:00:00Z", "at=0"),
        *("at=2026-01-01 00:00:00Z", "at=2026-01-01T00:00:00+01:00", "at=2026-01-01T00:00:00%00Z", "when=2026"),
        "at=2026-01-01T00:00:00%2B99:00",
    ],
)
def test_a_malformed_time_is_rejected(ours: TenantApi, query: str) -> None:
    """A plus that is not encoded is a space."""
    refused(ours.get(f"{ACTIVE}?{query}"), 400, "INVALID_REQUEST")


def test_an_offset_is_converted(ours: TenantApi, times: list[datetime]) -> None:
    moment = times[1].replace(tzinfo=None) + timedelta(hours=2)
    found = ours.get(f"{ACTIVE}?at={moment.isoformat()}%2B02:00").json()
    assert found["activation"]["sequence"] == 2


def test_a_revocation_shows_from_its_time_on(ours: TenantApi, times: list[datetime]) -> None:
    before = timezone.now()
    event = revoke(Release.objects.get(pk=ours.release.pk), actor="user:ann", reason="wrong")
    if event.revoked_at > times[2]:
        assert ours.get(at(times[2])).json()["revokedAt"] is None
    assert datetime.fromisoformat(ours.get(ACTIVE).json()["revokedAt"]) == event.revoked_at
    assert before


def test_the_export_is_signed_and_tells_the_whole_history(
    ours: TenantApi, times: list[datetime], document: dict[str, Any]
) -> None:
    response = ours.get(EXPORT)
    envelope = conforms(document, "GET", EXPORT, response)
    assert response.headers["Content-Type"] == ENVELOPE_MEDIA_TYPE
    assert response.content == ours.get(EXPORT).content
    assert envelope["payloadType"] == PAYLOAD_TYPE
    payload = base64.b64decode(envelope["payload"])
    assert json.loads(payload) == history.statement(read(ours))
    statement = activation_statement.read(payload)
    assert statement.contradictions() == []
    predicate = statement.predicate
    assert (predicate.tenant, predicate.pipeline_id, predicate.omitted_activations) == (
        ours.tenant.slug,
        making.PIPELINE,
        0,
    )
    assert [(each.sequence, each.kind, each.release_version) for each in predicate.activations] == [
        *((1, "activation", "1.0"), (2, "activation", "2.0"), (3, "rollback", "1.0"))
    ]
    assert [(each.actor, each.reason) for each in predicate.activations[1:]] == [
        *(("user:ann", "faster"), ("user:eva", "it fails"))
    ]
    assert [datetime.fromisoformat(each.activated_at) for each in predicate.activations] == times
    first = Release.objects.get(pk=ours.release.pk)
    assert predicate.releases[0].descriptor_digest.sha256 == first.descriptor_digest.removeprefix("sha256:")
    assert [each.digest for each in predicate.releases[0].artifacts] == [first.artifacts.get().digest]
    assert [each.revocation for each in predicate.releases] == [None, None]
    revoke(first, actor="user:eva", reason="leaks")
    assert ours.get(EXPORT).content != response.content
    revoked = activation_statement.read(base64.b64decode(ours.get(EXPORT).json()["payload"])).predicate.releases[0]
    assert revoked.revocation is not None
    assert (revoked.revocation.actor, revoked.revocation.reason) == ("user:eva", "leaks")


def test_a_long_history_omits_its_oldest_activations(
    ours: TenantApi, times: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MOST_ACTIVATIONS", 2)
    statement = activation_statement.read(json.dumps(history.statement(read(ours))).encode())
    assert statement.contradictions() == []
    assert [each.sequence for each in statement.predicate.activations] == [2, 3]
    assert statement.predicate.omitted_activations == 1


def test_without_a_history_or_a_key_there_is_no_export(ours: TenantApi, settings: Any) -> None:
    fresh = making.registered(ours.tenant, pipeline_id="org.example.new").pipeline.pipeline_id
    refused(ours.get(EXPORT.format(pipeline_id=fresh)), 404, "NONE_ACTIVE_THEN")
    refused(ours.get(ACTIVE.format(pipeline_id=fresh)), 404, "NONE_ACTIVE_THEN")
    refused(ours.get("pipelines/unknown/history/export"), 404, "PIPELINE_UNKNOWN")
    settings.PROVENANCE_KEY = ""
    refused(ours.get(EXPORT), 409, "PROVENANCE_KEY_MISSING")
