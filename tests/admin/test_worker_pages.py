"""The list of workers with the fleet, and what their pages say about drains."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from executions.models import Execution, Worker, WorkerEligibility
from executions.workers import registry
from tests import making
from tests.admin.conftest import LogIn, World
from tests.raw_sql import as_owner

LIST = "admin:executions_worker_changelist"


def page(world: World) -> str:
    return reverse("admin:executions_worker_change", args=[world.worker.pk])


@pytest.fixture
def busy(acme: World) -> World:
    """A world whose worker has one execution in hand."""
    assert len(making.claimed(acme.tenant)) == 1
    owner = WorkerEligibility.objects.get(pk=acme.worker.pk).lease_owner  # as the heartbeat sets it
    Execution.objects.filter(pk=acme.execution.pk).update(lease_owner=owner, lease_worker=acme.worker.worker_id)
    return acme


def drained(world: World) -> None:
    registry.drain(world.tenant, "acme.orders", world.worker.worker_id, actor="user:ann", reason="update")


def test_the_list_shows_what_each_worker_has_in_hand(log_in: LogIn, busy: World) -> None:
    making.worker(busy.release, "idle", capacity=3)
    rows = log_in("viewer").get(reverse(LIST)).context["cl"].result_list
    assert {row.worker_id: row.in_hand for row in rows} == {"worker-of-acme": 1, "idle": 0}
    answer = log_in("viewer").get(page(busy))
    assert answer.context["in_hand"] == len(answer.context["running"]) == 1


def test_the_fleet_adds_up_the_workers_of_each_release(log_in: LogIn, busy: World, globex: World) -> None:
    making.worker(busy.release, "second", capacity=3)
    silent = making.worker(busy.release, "silent", capacity=3)
    making.silence(silent)
    client = log_in("viewer")
    answer = client.get(reverse(LIST))
    [line] = answer.context["fleets"]
    fleet = line["fleet"]
    for state, count in (("HEALTHY", 2), ("STALE", 1)):
        assert f'href="?{line["query"].replace("&", "&amp;")}&amp;state={state}"' in answer.text
        assert len(client.get(f"{reverse(LIST)}?{line['query']}&state={state}").context["cl"].result_list) == count
    assert (fleet.pipeline_id, fleet.release_id) == ("acme.orders", busy.release.pk)
    assert (fleet.healthy, fleet.draining, fleet.silent, fleet.capacity, fleet.in_hand) == (2, 0, 1, 13, 1)
    assert len(log_in("superuser").get(reverse(LIST)).context["fleets"]) == 2


def test_the_fleet_counts_the_workers_that_differ_from_their_release(log_in: LogIn, acme: World) -> None:
    client = log_in("viewer")
    assert [line["differing"] for line in client.get(reverse(LIST)).context["fleets"]] == [0]
    with as_owner():
        Worker.objects.filter(pk=acme.worker.pk).update(artifact_digest="sha256:" + "0" * 64)
    [line] = client.get(reverse(LIST)).context["fleets"]
    assert line["differing"] == 1
    listed = client.get(f"{reverse(LIST)}?{line['query']}&drift=yes").context["cl"].result_list
    assert [row.pk for row in listed] == [acme.worker.pk]


def test_a_worker_is_draining_until_it_has_nothing_in_hand(log_in: LogIn, busy: World) -> None:
    client = log_in("viewer")
    drained(busy)
    text = client.get(page(busy)).text
    assert "It finishes the 1 execution that it has in hand" in text
    assert "DRAINED" not in text.split("data-worker-events")[0]
    assert "DRAINED" not in client.get(reverse(LIST)).context["cl"].result_list[0].eligibility.state
    other = making.worker(busy.release, "idle")
    registry.drain(busy.tenant, "acme.orders", "idle", actor="user:ann")
    text = client.get(reverse("admin:executions_worker_change", args=[other.pk])).text
    assert "It has nothing in hand and accepts no new executions." in text
    assert "DRAINED" in text


def test_the_answer_to_a_drain_says_what_is_left(log_in: LogIn, busy: World) -> None:
    idle = making.worker(busy.release, "idle")
    client = log_in("operator")
    for worker, text in (
        (busy.worker, "It finishes the 1 execution that it has in hand"),
        (idle, "It has nothing in hand and accepts no new executions."),
    ):
        address = reverse("admin:executions_worker_drain", args=[worker.pk])
        assert text in client.post(address, {"reason": "update"}, follow=True).text


def test_a_user_without_the_role_sees_who_may_drain(log_in: LogIn, acme: World) -> None:
    text = log_in("viewer").get(page(acme)).text
    assert "These roles may: operator, on-call, tenant admin." in text
    assert reverse("admin:executions_worker_drain", args=[acme.worker.pk]) not in text
    assert reverse("admin:executions_worker_drain", args=[acme.worker.pk]) in log_in("operator").get(page(acme)).text


def test_the_number_of_queries_is_independent_of_the_workers(log_in: LogIn, busy: World) -> None:
    client = log_in("viewer")

    def query_count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(reverse(LIST)).status_code == 200
        return len(queries)

    before = query_count()
    for number in range(10):
        making.worker(busy.release, f"worker-{number}")
    assert query_count() == before <= 25
    assert Worker.objects.count() == 11
