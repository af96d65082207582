"""The page of a pipeline: adoption and health of its releases, the timeline, questions and requests."""

from datetime import UTC, datetime, timedelta

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from executions.admin.pipeline_health import spans
from releases.activation.activation import activate
from releases.models import Activation, Release
from tests import making, requesting
from tests.admin import operator_rows
from tests.admin.conftest import LogIn, World
from tests.cases import cases

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def section(client: Client, world: World) -> dict[str, object]:
    answer = client.get(reverse("admin:releases_pipeline_change", args=[world.release.pipeline_id]))
    found: dict[str, object] = answer.context["sections"][0].section
    return found


def test_it_shows_the_share_and_the_failures_of_each_release(log_in: LogIn, acme: World, globex: World) -> None:
    operator_rows.dead(acme, "one", "two", "three")
    second = making.registered(acme.tenant, "2.0", pipeline_id="acme.orders")
    activate(second, actor="user:test")
    making.worker(second, "second")
    operator_rows.dead(globex, "four")
    client = log_in("viewer")
    lines = section(client, acme)["lines"]
    assert [
        (line.release.release_version, line.is_active, line.totals.failed, line.adoption, line.workers)
        for line in lines  # type: ignore[attr-defined]
    ] == [("2.0", True, 0, 0.0, 1), ("1.0", False, 3, 100.0, 1)]


def test_it_counts_the_open_questions_of_the_pipeline(log_in: LogIn, acme: World, globex: World) -> None:
    operator_rows.question(acme)
    operator_rows.question(globex)
    client = log_in("superuser")
    assert section(client, acme)["questions"] == 1
    text = client.get(reverse("admin:releases_pipeline_change", args=[acme.release.pipeline_id])).text
    address = f"{reverse('admin:executions_interaction_changelist')}?pipeline=acme.orders&amp;tenant=acme"
    assert f'href="{address}"' in text
    assert len(client.get(address.replace("&amp;", "&")).context["cl"].result_list) == 1


def test_it_shows_requests_that_are_not_decided(log_in: LogIn, acme: World) -> None:
    second = making.registered(acme.tenant, "2.0", pipeline_id="acme.orders")
    second.pipeline.approvals = 2
    second.pipeline.save(update_fields=["approvals"])
    request = requesting.open_request(second)
    assert section(log_in("viewer"), acme)["scheduled"] == [request]


def switch(version: str, hours_ago: float) -> Activation:
    return Activation(release=Release(release_version=version), activated_at=NOW - timedelta(hours=hours_ago))


def test_the_timeline_fills_the_picture() -> None:
    found = spans([switch("1.0", 10), switch("2.0", 5), switch("1.0", 4)], NOW)
    assert [(span.version, span.left, span.width, span.layer) for span in found] == [
        ("1.0", 0.0, 50.0, 0),
        ("2.0", 50.0, 10.0, 1),
        ("1.0", 60.0, 40.0, 0),
    ]


@cases(("switches", "expected"), [([], []), ([switch("1.0", 0)], [("1.0", 100.0, 0.0)])])
def test_a_short_history_is_drawn(switches: list[Activation], expected: list[object]) -> None:
    assert [(span.version, span.left, span.width) for span in spans(switches, NOW)] == expected


@cases("who", ["viewer", "operator", "release-manager", "tenant-admin", "superuser"])
def test_it_makes_a_bounded_number_of_queries(who: str, log_in: LogIn, acme: World) -> None:
    client = log_in(who)

    def query_count() -> int:
        with CaptureQueriesContext(connection) as queries:
            section(client, acme)
        return len(queries)

    operator_rows.dead(acme, "dead")
    assert query_count() <= 25
    for version in ("2.0", "3.0", "4.0"):
        activate(making.registered(acme.tenant, version, pipeline_id="acme.orders"), actor="user:test")
    assert query_count() <= 25
