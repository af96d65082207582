"""Answers what was active at a time, who activated it and why, and signs the activation history of a pipeline."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q
from django.db.models.functions import Now

from releases import queries
from releases.errors import NoneActiveThen, TimeInFuture
from releases.models import SWITCHES, Activation, ActivationRequest, Pipeline, Release, Revocation
from releases.trust import trust
from wire.documents import activation_statement as statements
from wire.documents.execution_runs import instant
from wire.documents.execution_statement import Digest, PinnedArtifact

MOST_ACTIVATIONS = 5_000
"""How many activations a statement lists: the newest ones."""


@dataclass(frozen=True, slots=True)
class ActiveThen:
    """The activation that decided which release was active at the time `at`.

    `replaced_at` is the time of the next one that decided this, or None. `revoked_at` is set if the release was revoked
    by then, so that the pipeline accepted no submissions. `routing` is the newest activation then: it may give a
    candidate a share of the submissions.
    """

    at: datetime
    activation: Activation
    replaced_at: datetime | None
    revoked_at: datetime | None
    routing: Activation


def active_at(pipeline: Pipeline, at: datetime | None = None) -> ActiveThen:
    """Return what was active at a time, by default now: the newest activation that is not later.

    The times of activations never decrease, so of several at one time, the one with the greatest sequence counts.
    Raises `TimeInFuture`, and `NoneActiveThen` before the first activation.
    """
    now = queries.clock()
    at = now if at is None else at
    if at > now:
        raise TimeInFuture("The time must not be in the future.", errors=[_FUTURE])
    until_then = queries.history(pipeline).filter(activated_at__lte=at).order_by("-activated_at", "-sequence")
    found, newest = until_then.filter(kind__in=SWITCHES).first(), until_then.first()
    if found is None or newest is None:
        raise NoneActiveThen(f"No release of pipeline {pipeline.pipeline_id!r} was active then.")
    later = pipeline.activations.filter(kind__in=SWITCHES, sequence__gt=found.sequence).order_by("sequence").first()
    revocation = Revocation.objects.filter(release=found.release_id, revoked_at__lte=at).first()
    return ActiveThen(
        at,
        found,
        replaced_at=later.activated_at if later else None,
        revoked_at=revocation.revoked_at if revocation else None,
        routing=newest,
    )


_FUTURE = {"field": "at", "code": "TIME_IN_FUTURE", "message": "must not be in the future"}


def statement(pipeline: Pipeline) -> dict[str, Any]:
    """Return the unsigned history. It changes only when the pipeline gets another activation or revocation.

    Raises `NoneActiveThen` if no release was ever activated or revoked.
    """
    newest = list(queries.history(pipeline)[:MOST_ACTIVATIONS])
    activations = [_activated(each) for each in reversed(newest)]
    ids = ((each.release_id, each.previous_id, each.candidate_id) for each in newest)
    named = {release for row in ids for release in row if release is not None}
    releases = (
        Release.objects.filter(Q(pk__in=named) | Q(pipeline=pipeline, revocation__isnull=False))
        .select_related("revocation")
        .prefetch_related("artifacts")
        .order_by("pk")
    )
    known = [_known(each) for each in releases]
    if not known:
        raise NoneActiveThen(f"No release of pipeline {pipeline.pipeline_id!r} was ever active.")
    omitted = newest[-1].sequence - 1 if newest else 0
    return statements.build(pipeline.tenant.slug, pipeline.pipeline_id, known, activations, omitted)


def signed(pipeline: Pipeline) -> bytes:
    """Return the history in a DSSE envelope. The same history gives the same bytes under one key.

    Raises `ProvenanceKeyMissing` and `NoneActiveThen`.
    """
    return trust.sign_statement(statement(pipeline))


def file_name(pipeline: Pipeline) -> str:
    """Return the name under which the signed document is saved."""
    return f"activations-{pipeline.pk}.dsse.json"


def _activated(activation: Activation) -> statements.Activation:
    candidate, request = activation.candidate, activation.request
    return statements.Activation(
        sequence=activation.sequence,
        kind=activation.kind,
        release_version=activation.release.release_version,
        previous_release_version=activation.previous.release_version if activation.previous else None,
        actor=activation.actor,
        reason=activation.reason,
        activated_at=instant(activation.activated_at),
        override=activation.override,
        request=_requested(request) if request else None,
        candidate=statements.Candidate(release_version=candidate.release_version, share=float(activation.share or 0))
        if candidate
        else None,
    )


def _requested(request: ActivationRequest) -> statements.Request:
    votes = tuple(
        statements.Vote(actor=each.actor, decision=each.decision, comment=each.comment, voted_at=instant(each.voted_at))
        for each in request.counted_votes
    )
    return statements.Request(request_id=str(request.pk), requested_at=instant(request.created_at), votes=votes)


def _known(release: Release) -> statements.Release:
    revocation = getattr(release, "revocation", None)
    artifacts = sorted(release.artifacts.all(), key=lambda each: each.position)
    return statements.Release(
        release_version=release.release_version,
        contract_version=release.contract_version,
        descriptor_digest=Digest(sha256=release.descriptor_digest.removeprefix("sha256:")),
        artifacts=tuple(PinnedArtifact(artifact_id=each.artifact_id, digest=each.digest) for each in artifacts),
        revocation=revocation
        and statements.Revocation(
            actor=revocation.actor, reason=revocation.reason, revoked_at=instant(revocation.revoked_at)
        ),
    )


def was_active_lately(pipeline: Pipeline, release: Release) -> bool:
    """True if another release replaced `release` in the last `rollback_days` days."""
    since = Now() - timedelta(days=pipeline.rollback_days)
    replaced = pipeline.activations.filter(previous=release, activated_at__gte=since)
    return replaced.exclude(release=release).exists()
