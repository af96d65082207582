"""Compares two releases of a pipeline: what would change for callers and for parked work."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from django.db.models import BinaryField, Case, Sum, When
from django.db.models.functions import Length

from releases import queries
from releases.errors import ReleaseUnknown
from releases.models import Attachment, Pipeline, Release
from releases.states import AttachmentKind, Status
from releases.trust import attachments, trust
from wire.comparison.comparison import artifacts_by_id, compare
from wire.comparison.comparison import checkpoint_differences as contract_differences
from wire.comparison.differences import Area, Difference, Impact, Package, Provenance, ReleaseFacts, changed
from wire.documents.descriptor import Descriptor, descriptor_from_json
from wire.findings import DocumentError
from wire.identity import is_segment

MAX_SBOM_BYTES: Final = attachments.MAX_ATTACHMENT_BYTES
"""How many bytes of a release's SBOMs are read. The packages of a release with more are unknown."""
Signers = Mapping[int, Sequence[trust.Signer]]
"""The signatures over the descriptors of releases, by the key of the release."""
_VERIFIED: Final = frozenset({Status.REGISTERED, Status.REVOKED, Status.RETIRED})


def differences(before: Release, after: Release, signers: Signers | None = None) -> tuple[Difference, ...]:
    """Return the differences from `before` to `after`, most harmful first. Makes a constant number of queries.

    `signers` are the signatures over both descriptors, if the caller has just read them.
    """
    return compare(*facts_of(before, after, signers=signers))


def breaks_callers(before: Release, after: Release) -> bool:
    """True if clients that work today would fail. Compares the contracts: nothing else is breaking for callers."""
    described = [
        ReleaseFacts(descriptor_from_json(release.descriptor), queries.contract_of(release))
        for release in (before, after)
    ]
    return any(difference.impact is Impact.BREAKING_FOR_CALLERS for difference in compare(*described))


def checkpoint_differences(before: Release, after: Release, step_index: int) -> tuple[Difference, ...]:
    """Return why a checkpoint before step `step_index` of `before` may not continue on `after`. None: it is proven."""
    old, new = queries.contract_of(before), queries.contract_of(after)
    if old is None or new is None:
        versions = before.contract_version, after.contract_version
        reason = "The contract of a release is not known, so its steps and types cannot be compared."
        return (changed(Area.STEP, "contract", versions, reason, Impact.UNKNOWN),)
    return contract_differences(old, new, step_index)


def named_release(pipeline: Pipeline, version: str) -> Release:
    """Return the release with this version. Raises `ReleaseUnknown`, also for texts that PostgreSQL refuses."""
    if not is_segment(version):
        raise ReleaseUnknown(f"There is no release {version!r}.")
    return queries.release(pipeline, version)


def newest_release(pipeline: Pipeline) -> Release:
    """Return the registered release that was uploaded last. Raises `ReleaseUnknown` if no release is."""
    newest = pipeline.releases.select_related("contract").filter(status=Status.REGISTERED).order_by("-id").first()
    if newest is None:
        raise ReleaseUnknown(f"Pipeline {pipeline.pipeline_id!r} has no registered release.")
    return newest


def facts_of(*releases: Release, signers: Signers | None = None) -> list[ReleaseFacts]:
    """Return what is known about each release. A release that is not verified has no contract and no environments."""
    signers = trust.signers_by_release(releases) if signers is None else signers
    provenance, packages = _attached(releases)
    descriptors = [descriptor_from_json(release.descriptor) for release in releases]
    return [
        ReleaseFacts(
            descriptor=descriptor,
            contract=queries.contract_of(release),
            environments=_environments(release, descriptor),
            checkpoints=release.checkpoints if release.status in _VERIFIED else None,
            declarations=release.declarations if release.status in _VERIFIED else None,
            signers=sorted({_signer(signer) for signer in signers[release.pk]}),
            provenance=provenance[release.pk],
            packages=packages[release.pk],
        )
        for release, descriptor in zip(releases, descriptors, strict=True)
    ]


def _environments(release: Release, descriptor: Descriptor) -> Mapping[str, Mapping[str, Any]]:
    return {
        name: release.environments[artifact.digest]
        for name, artifact in artifacts_by_id(descriptor).items()
        if artifact.digest in release.environments
    }


def _signer(signer: trust.Signer) -> str:
    """Describe who signed: the name of the key that verified a signature, or the id that the signature claims."""
    if signer.verdict is trust.Verdict.VALID and signer.key is not None:
        return f"{signer.key.name} ({signer.key_id})"
    return f"{signer.key_id or 'a key without an id'} ({signer.verdict})"


def _attached(releases: Iterable[Release]) -> tuple[dict[int, list[Provenance]], dict[int, list[Package] | None]]:
    """Return the provenance of each release, and the packages in its SBOMs. Makes one query.

    The packages are None if the release has no SBOM, or SBOMs that are not read.
    """
    provenance: dict[int, list[Provenance]] = {release.pk: [] for release in releases}
    packages: dict[int, list[Package] | None] = dict.fromkeys(provenance)
    documents = defaultdict(list)
    rows = Attachment.objects.filter(release__in=provenance)
    bills = rows.filter(kind=AttachmentKind.SBOM)
    sizes = bills.order_by().values("release").annotate(size=Sum(Length("content")))
    readable = bills.filter(release__in=sizes.filter(size__lte=MAX_SBOM_BYTES).values("release"))
    read = rows.filter(kind=AttachmentKind.PROVENANCE) | readable
    content = Case(When(kind=AttachmentKind.SBOM, then="content"), output_field=BinaryField())
    for release, kind, summary, document in read.values_list("release", "kind", "summary", content):
        if kind == AttachmentKind.SBOM:
            documents[release].append(bytes(document))
        else:
            digest = next((material["digest"] for material in summary["materials"]), "")
            provenance[release].append(Provenance(summary["builder"], summary["source"], digest))
    for release, contents in documents.items():
        with suppress(DocumentError):
            packages[release] = [package for content in contents for package in attachments.packages_of(content)]
    return provenance, packages
