"""The pointer of a pipeline to its newest activation, which decides the release that a new execution gets.

The INSERT of an execution compares the pointer with the activation that its admission was read from. So each new
activation applies to all executions that are submitted afterwards. The earlier activations are the history of the
pipeline.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from shlex import quote
from typing import Any

from django.db import connection, transaction
from django.db.models import DateTimeField, Func, Q, QuerySet
from django.db.models.functions import Now

from foundation.plurals import counted
from releases import metrics, queries
from releases.errors import (
    ActiveReleaseChanged,
    ApprovalRequired,
    NoneActiveThen,
    ReasonRequired,
    ReleaseNotOpen,
    ReleaseNotRegistered,
)
from releases.models import (
    Activation,
    ActivationRequest,
    GradualActivation,
    Kind,
    Pipeline,
    Release,
    Revocation,
)
from releases.states import Status
from releases.trust import trust
from tenancy.audit.people import Acted, people_behind
from tenancy.models import Tenant
from wire.documents import activation_statement as statements
from wire.documents.execution_runs import instant
from wire.documents.execution_statement import Digest, PinnedArtifact


def locked(pipeline_id: int) -> Pipeline:
    """Lock a pipeline and return it.

    The query has no join: after a wait for the lock, PostgreSQL re-reads the locked row, but not the joined rows.
    """
    return Pipeline.objects.select_for_update().get(pk=pipeline_id)


def append(
    pipeline: Pipeline,
    release: Release,
    kind: Kind,
    *,
    actor: str,
    reason: str,
    operation_key: str | None,
    gradual: GradualActivation | None = None,
    share: Decimal | None = None,
    override: bool = False,
    request: ActivationRequest | None = None,
) -> Activation:
    """Append an activation to a locked pipeline and return it. With `share`, the candidate of `gradual` gets it."""
    newest = pipeline.activation
    activation = Activation.objects.create(
        pipeline=pipeline,
        sequence=newest.sequence + 1 if newest else 1,
        release=release,
        previous=newest.release if newest else None,
        kind=kind,
        gradual=gradual,
        candidate=gradual.candidate if gradual and share is not None else None,
        share=share,
        actor=actor,
        reason=reason.strip(),
        operation_key=operation_key,
        override=override,
        request=request,
    )
    pipeline.activation = activation
    pipeline.save(update_fields=("activation",))
    transaction.on_commit(partial(_count, release.pipeline, kind))
    return activation


def _count(pipeline: Pipeline, kind: Kind) -> None:
    metrics.activations.add(pipeline.tenant.slug, pipeline.pipeline_id, kind.value)


def require_registered(release: Release) -> None:
    if release.status != Status.REGISTERED:
        raise ReleaseNotRegistered(release.release_version, release.status)


def require_reason(pipeline: Pipeline, reason: str, kind: Kind = Kind.ACTIVATION, *, override: bool = False) -> None:
    """Raise `ReasonRequired` if the reason is blank although the kind of activation or the policy requires one.

    An override requires one, too.
    """
    if reason.strip():
        return
    if override:
        raise ReasonRequired("An emergency override requires a reason.")
    if kind in {Kind.ROLLBACK, Kind.WITHDRAWAL}:
        raise ReasonRequired(f"A {kind.value} requires a reason.")
    if pipeline.reason_required:
        raise ReasonRequired(f"The policy of pipeline {pipeline.pipeline_id!r} requires a reason.")


def require_expected(newest: Activation | None, expected: str | None) -> None:
    """Raise `ActiveReleaseChanged` unless `expected` is None or the active release, or "" if none is active."""
    active = newest.release.release_version if newest else ""
    if expected is not None and expected != active:
        raise ActiveReleaseChanged(
            f"The expected active release is {expected or 'none'!r}, but the active release is {active or 'none'!r}.",
            activeReleaseVersion=active or None,
        )


def approval_required(pipeline: Pipeline, release: Release) -> ApprovalRequired:
    """Return the refusal of an activation of `release` that lacks the approvals of the policy."""
    people = counted(pipeline.approvals, "other person", "other people")
    command = f"coordinator requests make {quote(pipeline.pipeline_id)} {quote(release.release_version)}"
    return ApprovalRequired(
        f"{people} must approve the activation of release {release.release_version!r}. Request the"
        f" activation, such as with `{command}`.",
        approvals=pipeline.approvals,
    )


# --- callers that were built against one release: they name it, and are protected from a switch to another ---
#
# They get the release while it is active or a candidate, and for a grace time after it was replaced, which the policy
# of the pipeline sets. The database decides what is open: see `release_open_until`.
OPENING = """
SELECT coalesce(until > clock_timestamp(), false), CASE WHEN isfinite(until) THEN until END
FROM release_open_until(%(release)s) AS until
"""
"""Returns whether submissions that name a release get it now, and the end of its grace if it was replaced."""


@dataclass(frozen=True, slots=True)
class Opening:
    """Whether callers that name a release get it now. `grace_ends` is set if the release was replaced."""

    is_open: bool
    grace_ends: datetime | None


def opening(release: Release) -> Opening:
    """Return whether callers that name a release get it now, by the time and the tables of the database."""
    with connection.cursor() as cursor:
        cursor.execute(OPENING, {"release": release.pk})
        [(is_open, grace_ends)] = cursor.fetchall()
    return Opening(is_open, grace_ends)


def open_or_replaced(rows: QuerySet[Release]) -> QuerySet[Release]:
    """Return the releases among `rows` that a resubmission may name: they are open, or were active before."""
    until = Func("pk", function="release_open_until", output_field=DateTimeField())
    return rows.alias(open_until=until).filter(open_until__isnull=False)


def require_open(release: Release, *, or_replaced: bool = False) -> None:
    """Raise `ReleaseNotOpen` unless callers that name the release get it now.

    With `or_replaced`, it may have been replaced at any time. One that was never active is refused all the same.
    """
    earlier = opening(release)
    if earlier.is_open or (or_replaced and earlier.grace_ends is not None):
        return
    active = release.pipeline.active_release
    version = active.release_version if active else None
    if earlier.grace_ends is None:
        why = "was never active"
    else:
        why = f"was replaced, and was open until {earlier.grace_ends.isoformat(timespec='seconds')}"
    raise ReleaseNotOpen(
        f"Release {release.release_version!r} {why}. The active release is {version or 'none'!r}.",
        active=version,
        may_open=earlier.grace_ends is None,
    )


# --- routing between the active release and the candidate of a gradual activation ---

BUCKETS = 10_000


def bucket(gradual_id: str, key: str) -> int:
    """Return the bucket of a routing key, from 0 to BUCKETS - 1. Other gradual activations give it other buckets."""
    digest = hashlib.sha256(f"{gradual_id}:{key}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % BUCKETS


@dataclass(frozen=True, slots=True)
class Routing:
    """The routing at one step: the candidate gets the buckets below `limit`, all these tags, and all these actors."""

    gradual_id: str
    limit: int
    tags: frozenset[str] = frozenset()
    actors: frozenset[str] = frozenset()

    def takes(self, key: str, *, tags: Sequence[str] = (), actor: str = "") -> bool:
        """Return True if an execution with this routing key gets the candidate."""
        if actor in self.actors or not self.tags.isdisjoint(tags):
            return True
        return self.limit > 0 and bucket(self.gradual_id, key) < self.limit


# --- the history: who activated what, and why ---

MOST_ACTIVATIONS = 5_000


def history_statement(pipeline: Pipeline, *, most: int = MOST_ACTIVATIONS) -> dict[str, Any]:
    """Return the unsigned history. It changes only when the pipeline gets another activation or revocation.

    It lists the newest `most` activations. Raises `NoneActiveThen` if no release was ever activated or revoked.
    """
    newest = list(queries.history(pipeline)[:most])
    ids = ((activation.release_id, activation.previous_id, activation.candidate_id) for activation in newest)
    named = {release for row in ids for release in row if release is not None}
    releases = (
        Release.objects.filter(Q(pk__in=named) | Q(pipeline=pipeline, revocation__isnull=False))
        .select_related("revocation")
        .prefetch_related("artifacts")
        .order_by("pk")
    )
    if not releases:
        raise NoneActiveThen(f"No release of pipeline {pipeline.pipeline_id!r} was ever active.")
    revocations = {release.pk: getattr(release, "revocation", None) for release in releases}
    owners = owners_of_tokens(pipeline.tenant, newest, filter(None, revocations.values()))
    known = [described(release, revocations[release.pk], owners) for release in releases]
    activations = [activated(activation, owners) for activation in reversed(newest)]
    omitted = newest[-1].sequence - 1 if newest else 0
    return statements.build(pipeline.tenant.slug, pipeline.pipeline_id, known, activations, omitted)


def signed_history(pipeline: Pipeline) -> bytes:
    """Return the history in a DSSE envelope. The same history gives the same bytes under one key.

    Raises `ProvenanceKeyMissing` and `NoneActiveThen`.
    """
    return trust.sign_statement(history_statement(pipeline))


def history_file_name(pipeline: Pipeline) -> str:
    """Return the name under which the signed document is saved."""
    return f"activations-{pipeline.pk}.dsse.json"


Owners = Mapping[Acted, str | None]
"""The users behind tokens that acted."""


def owners_of_tokens(tenant: Tenant, activations: Iterable[Activation], revocations: Iterable[Revocation]) -> Owners:
    """Return the users behind the tokens that activated, voted and revoked, in at most one statement.

    The activations have their requests and the votes on these.
    """
    acted = [(revocation.actor, revocation.revoked_at) for revocation in revocations]
    for activation in activations:
        votes = activation.request.counted_votes if activation.request else ()
        acted += [(activation.actor, activation.activated_at), *((vote.actor, vote.voted_at) for vote in votes)]
    return people_behind(tenant, ((actor, at) for actor, at in acted if actor.startswith("token:")))


def activated(activation: Activation, owners: Owners) -> statements.Activation:
    """Return what a statement says about an activation."""
    request = activation.request
    return statements.Activation(
        sequence=activation.sequence,
        kind=activation.kind,
        release_version=activation.release.release_version,
        previous_release_version=activation.previous.release_version if activation.previous else None,
        actor=activation.actor,
        person=owners.get((activation.actor, activation.activated_at)),
        reason=activation.reason,
        activated_at=instant(activation.activated_at),
        override=activation.override,
        request=_requested(request, owners) if request else None,
        candidate=candidate_of(activation),
    )


def candidate_of(activation: Activation) -> statements.Candidate | None:
    """Return the candidate that gets a share of the submissions after an activation."""
    if activation.candidate is None:
        return None
    return statements.Candidate(
        release_version=activation.candidate.release_version, share=float(activation.share or 0)
    )


def _requested(request: ActivationRequest, owners: Owners) -> statements.Request:
    votes = tuple(
        statements.Vote(
            actor=vote.actor,
            person=owners.get((vote.actor, vote.voted_at)),
            decision=vote.decision,
            comment=vote.comment,
            voted_at=instant(vote.voted_at),
        )
        for vote in request.counted_votes
    )
    return statements.Request(request_id=str(request.pk), requested_at=instant(request.created_at), votes=votes)


def described(release: Release, revocation: Revocation | None, owners: Owners) -> statements.Release:
    """Return what a statement says about a release."""
    artifacts = sorted(release.artifacts.all(), key=lambda artifact: artifact.position)
    return statements.Release(
        release_version=release.release_version,
        contract_version=release.contract_version,
        descriptor_digest=Digest(sha256=release.descriptor_digest.removeprefix("sha256:")),
        artifacts=tuple(
            PinnedArtifact(artifact_id=artifact.artifact_id, digest=artifact.digest) for artifact in artifacts
        ),
        revocation=None
        if revocation is None
        else statements.Revocation(
            actor=revocation.actor,
            person=owners.get((revocation.actor, revocation.revoked_at)),
            reason=revocation.reason,
            revoked_at=instant(revocation.revoked_at),
        ),
    )


def has_earlier(pipeline: Pipeline) -> bool:
    """True if another release was active before the one that is active now.

    Makes a query only if the newest activation kept the active release, as that of a gradual activation does.
    """
    newest = pipeline.activation
    if newest is None or newest.previous_id is None:
        return False
    if newest.previous_id != newest.release_id:
        return True
    return pipeline.activations.exclude(release=newest.release_id).exists()


def was_active_lately(pipeline: Pipeline, release: Release) -> bool:
    """True if another release replaced `release` in the last `rollback_days` days."""
    since = Now() - timedelta(days=pipeline.rollback_days)
    replaced = pipeline.activations.filter(previous=release, activated_at__gte=since)
    return replaced.exclude(release=release).exists()
