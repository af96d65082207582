"""What was active at a time, and the signed activation history, over REST."""

import base64
import json
from datetime import datetime, timedelta

import pytest

from releases.activation import history
from releases.activation.activation import activate
from releases.activation.revocation import revoke
from releases.activation.rollback import roll_back
from releases.models import Activation, Pipeline, Release
from releases.queries import pipeline
from tests import making
from tests.api.tenant_api import TenantApi, refused
from tests.raw_sql import run, unguarded
from wire.documents import activation_statement
from wire.documents.execution_statement import ENVELOPE_MEDIA_TYPE, PAYLOAD_TYPE

ACTIVE = "pipelines/{pipeline_id}/active"
EXPORT = "pipelines/{pipeline_id}/history/export"
INSTANT = timedelta(microseconds=1)


def read(ours: TenantApi) -> Pipeline:
    return pipeline(ours.tenant, making.PIPELINE)


@pytest.fixture
def times(ours: TenantApi) -> list[datetime]:
    """The times of 1.0, 2.0 and a rollback to 1.0, an hour ago."""
    activate(making.registered(ours.tenant, "2.0"), actor="user:ann", reason="faster")
    roll_back(read(ours), actor="user:eva", reason="it fails", recent_only=True)
    with unguarded(Activation):
        run("UPDATE releases_activation SET activated_at = activated_at - interval '1 hour'")
    return list(read(ours).activations.order_by("sequence").values_list("activated_at", flat=True))


def at(moment: datetime) -> str:
    return f"{ACTIVE}?at={moment.isoformat().replace('+00:00', 'Z')}"


def test_at_each_time_the_newest_activation_that_is_not_later_counts(ours: TenantApi, times: list[datetime]) -> None:
    for moment, sequence, version in [
        *((times[0], 1, "1.0"), (times[1] - INSTANT, 1, "1.0")),
        *((times[1], 2, "2.0"), (times[2] - INSTANT, 2, "2.0"), (times[2], 3, "1.0")),
    ]:
        found = ours.get(at(moment)).json()
        assert (found["activation"]["sequence"], found["activation"]["releaseVersion"]) == (sequence, version)
        assert datetime.fromisoformat(found["at"]) == moment
        replaced = found["replacedAt"] and datetime.fromisoformat(found["replacedAt"])
        assert replaced == (times[sequence] if sequence < 3 else None)
    newest = ours.get(ACTIVE).json()["activation"]
    assert (newest["kind"], newest["actor"], newest["reason"]) == ("rollback", "user:eva", "it fails")
    refused(ours.get(at(times[0] - INSTANT)), 404, "NONE_ACTIVE_THEN")
    with_offset = times[1].replace(tzinfo=None) + timedelta(hours=2)
    found = ours.get(f"{ACTIVE}?at={with_offset.isoformat()}%2B02:00").json()
    assert found["activation"]["sequence"] == 2
    event = revoke(Release.objects.get(pk=ours.release.pk), actor="user:ann", reason="wrong")
    assert datetime.fromisoformat(ours.get(ACTIVE).json()["revokedAt"]) == event.revoked_at
    assert ours.get(at(times[2])).json()["revokedAt"] is None
    with unguarded(Activation):
        run("UPDATE releases_activation SET activated_at = %s WHERE sequence = 2", times[0])
    assert ours.get(at(times[0])).json()["activation"]["sequence"] == 2, "the last one of those at one time"


def test_the_export_is_signed_and_has_the_whole_history(
    ours: TenantApi, times: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    response = ours.get(EXPORT)
    assert response.headers["Content-Type"] == ENVELOPE_MEDIA_TYPE
    assert response.content == ours.get(EXPORT).content
    assert response.json()["payloadType"] == PAYLOAD_TYPE
    payload = base64.b64decode(response.json()["payload"])
    assert json.loads(payload) == history.statement(read(ours))
    statement = activation_statement.read(payload)
    predicate = statement.predicate
    assert statement.contradictions() == []
    assert (predicate.tenant, predicate.pipeline_id) == (ours.tenant.slug, making.PIPELINE)
    assert [(each.sequence, each.kind, each.reason) for each in predicate.activations[1:]] == [
        (2, "activation", "faster"),
        (3, "rollback", "it fails"),
    ]
    revoke(Release.objects.get(pk=ours.release.pk), actor="user:eva", reason="leaks")
    [revoked, _] = activation_statement.read(base64.b64decode(ours.get(EXPORT).json()["payload"])).predicate.releases
    assert revoked.revocation is not None
    assert (revoked.revocation.actor, revoked.revocation.reason) == ("user:eva", "leaks")
    monkeypatch.setattr(history, "MOST_ACTIVATIONS", 2)
    shortened = activation_statement.read(json.dumps(history.statement(read(ours))).encode())
    assert shortened.contradictions() == []
    assert [each.sequence for each in shortened.predicate.activations] == [2, 3]
    assert shortened.predicate.omitted_activations == 1
