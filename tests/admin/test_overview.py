"""The overview: what needs attention, with links to exactly these rows."""

from collections.abc import Callable
from datetime import timedelta

from django.test import Client
from django.utils import timezone

from executions.models import Interaction
from releases.models import Blob, Pipeline
from releases.registration.registrar import verify_release
from tests import making, requesting
from tests.admin import operator_rows
from tests.admin.browsing import at, to
from tests.admin.conftest import LogIn, World
from tests.alerts.alerting import of_failures, rule
from tests.cases import cases


def shown(client: Client) -> dict[str, tuple[int, str]]:
    """Return the counts and addresses of what needs attention, by key."""
    return {item.key: (item.count, item.address) for item in client.get(to("index")).context["attention"]}


def stranded(world: World) -> None:
    making.execution(world.tenant, "waits", pipeline_id=operator_rows.pipeline_of(world))
    making.execution(world.tenant, "waits too", pipeline_id=operator_rows.pipeline_of(world))
    making.silence(world.worker)


def approvals(world: World) -> None:
    release = making.registered(world.tenant, pipeline_id=f"{world.tenant.slug}.asked")
    Pipeline.objects.filter(pk=release.pipeline_id).update(approvals=2)
    requesting.open_request(release)


def rejected(world: World) -> None:
    document = making.contract(f"{world.tenant.slug}.rejected")
    data = making.archive(document)
    for version in ("1.0", "2.0"):
        verify_release(making.upload(world.tenant, making.descriptor(document, data, version), b"stray").release.pk)
    making.verified(making.upload(world.tenant, making.descriptor(document, data, "2.0"), data).release)


def artifacts(world: World) -> None:
    digests = list(world.release.artifacts.values_list("digest", flat=True))
    Blob.objects.filter(digest__in=digests).update(state=Blob.State.DAMAGED)


def questions(world: World) -> None:
    question = operator_rows.question(world)
    Interaction.objects.filter(pk=question.pk).update(deadline=timezone.now() + timedelta(minutes=30))


def firing(world: World) -> None:
    operator_rows.dead(world, "fails")
    of_failures(rule(world.tenant))


@cases(
    ("key", "make"),
    [
        *(("alerts", firing), ("stranded", stranded), ("approvals", approvals), ("rejected", rejected)),
        *(("artifacts", artifacts), ("questions", questions)),
    ],
)
def test_an_item_links_to_exactly_the_rows_that_it_counts(
    key: str, make: Callable[[World], None], log_in: LogIn, viewer: Client, acme: World, globex: World
) -> None:
    for world in (acme, globex):
        make(world)
    everything = log_in("superuser")
    (few, own), (many, address) = shown(viewer)[key], shown(everything)[key]
    assert 0 < few == len(at(viewer, own)) < many == len(at(everything, address))
