"""Finds pipelines and releases by parts of their names, and the acts on them that the user may do."""

from collections.abc import Iterator
from functools import reduce
from operator import and_
from typing import Final

from django.db.models import Q
from django.http import HttpRequest

from coordinator.palette.found import EACH, Found, page, words_of
from releases.models import Pipeline, Release
from releases.states import Status
from tenancy.access import tenants_of
from tenancy.roles import Scope

VERBS: Final = frozenset({"activate", "pause", "compare", "roll", "back", "to", "of", "release", "pipeline"})
"""Words of acts. They do not restrict the search, so that "activate 2.0 of orders" finds the act."""


def find(request: HttpRequest, term: str) -> list[Found]:
    """Return pipelines and releases with their acts. Each word of `term` is in the pipeline's id or in the version."""
    words = [word for word in words_of(term) if word not in VERBS]
    if not words:
        return []
    tenants = list(tenants_of(request.user).values_list("pk", flat=True))
    activating = set(tenants_of(request.user, Scope.ACTIVATE).values_list("pk", flat=True))
    pipelines = Pipeline.objects.filter(_all(words, "pipeline_id"), tenant__in=tenants).order_by("pipeline_id", "pk")
    releases = Release.objects.filter(
        _all(words, "pipeline__pipeline_id", "release_version"), pipeline__tenant__in=tenants
    )
    releases = releases.exclude(status=Status.REJECTED).defer("descriptor", "descriptor_document")
    newest = releases.select_related("pipeline__tenant", "pipeline__activation").order_by("-pk")
    return [
        *(found for each in pipelines.select_related("tenant")[:EACH] for found in _pipeline(each, activating)),
        *(found for each in newest[:EACH] for found in _release(each, activating)),
    ]


def _pipeline(pipeline: Pipeline, activating: set[int]) -> Iterator[Found]:
    name, tenant = pipeline.pipeline_id, pipeline.tenant.slug
    yield Found(name, f"Pipeline of {tenant}", page("releases_pipeline_change", pipeline.pk), "account_tree")
    if pipeline.tenant_id in activating:
        address = page("executions_hold_pipeline_pause", pipeline.pk)
        yield Found(f"Pause {name}", f"Act in {tenant}", address, "pause_circle")


def _release(release: Release, activating: set[int]) -> Iterator[Found]:
    pipeline = release.pipeline
    name, tenant = f"{release.release_version} of {pipeline.pipeline_id}", pipeline.tenant.slug
    address = page("releases_release_change", release.pk)
    yield Found(f"Release {name}", f"{release.status} in {tenant}", address, "inventory_2")
    if release.status == Status.REGISTERED and not release.is_active and pipeline.tenant_id in activating:
        address = page("releases_release_activate", release.pk)
        yield Found(f"Activate {name}", f"Act in {tenant}", address, "rocket_launch")


def _all(words: list[str], *fields: str) -> Q:
    """Return the condition that each word is in one of the fields."""
    return reduce(and_, (reduce(Q.__or__, (Q(**{f"{field}__icontains": word}) for field in fields)) for word in words))
