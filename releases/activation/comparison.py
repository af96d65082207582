"""Compares two releases of a pipeline: what would change for callers and for parked work."""

from collections.abc import Mapping
from typing import Any, Final

from django.db.models import Sum
from django.db.models.functions import Length

from releases import queries
from releases.errors import ReleaseUnknown
from releases.models import Pipeline, Release
from releases.states import AttachmentKind, Status
from releases.trust import evidence, trust
from wire.comparison import checkpoint
from wire.comparison.comparison import compare
from wire.comparison.contents import artifacts_by_id
from wire.comparison.differences import Area, Difference, Impact, changed
from wire.comparison.facts import Package, Provenance, ReleaseFacts
from wire.documents.descriptor import Descriptor, descriptor_from_json
from wire.findings import DocumentError

MAX_SBOM_BYTES: Final = evidence.MAX_ATTACHMENT_BYTES
"""How many bytes of a release's SBOMs are read. The packages of a release with more are unknown."""
_VERIFIED: Final = frozenset({Status.REGISTERED, Status.REVOKED})


def differences(before: Release, after: Release) -> tuple[Difference, ...]:
    """Return the differences from `before` to `after`, most harmful first. Makes a constant number of queries."""
    return compare(facts_of(before), facts_of(after))


def breaks_callers(before: Release, after: Release) -> bool:
    """True if clients that work today would fail. Compares the contracts: nothing else is breaking for callers."""
    facts = [ReleaseFacts(descriptor_from_json(each.descriptor), queries.contract_of(each)) for each in (before, after)]
    return any(each.impact is Impact.BREAKING_FOR_CALLERS for each in compare(*facts))


def checkpoint_differences(before: Release, after: Release, step_index: int) -> tuple[Difference, ...]:
    """Return why a checkpoint before step `step_index` of `before` may not continue on `after`. None: it is proven."""
    old, new = queries.contract_of(before), queries.contract_of(after)
    if old is None or new is None:
        versions = before.contract_version, after.contract_version
        reason = "The contract of a release is not known, so its steps and types cannot be compared."
        return (changed(Area.STEP, "contract", versions, reason, Impact.UNKNOWN),)
    return checkpoint.checkpoint_differences(old, new, step_index)


def newest_release(of: Pipeline) -> Release:
    """Return the registered release that was uploaded last. Raises `ReleaseUnknown` if no release is."""
    found = of.releases.select_related("contract").filter(status=Status.REGISTERED).order_by("-id").first()
    if found is None:
        raise ReleaseUnknown(f"Pipeline {of.pipeline_id!r} has no registered release.")
    return found


def facts_of(release: Release) -> ReleaseFacts:
    """Return what is known about a release. A release that is not verified has no contract and no environments."""
    descriptor = descriptor_from_json(release.descriptor)
    return ReleaseFacts(
        descriptor=descriptor,
        contract=queries.contract_of(release),
        environments=_environments(release, descriptor),
        checkpoints=release.checkpoints if release.status in _VERIFIED else None,
        signers=_signers(release),
        provenance=_provenance(release),
        packages=_packages(release),
    )


def _environments(release: Release, descriptor: Descriptor) -> Mapping[str, Mapping[str, Any]]:
    return {
        name: release.environments[artifact.digest]
        for name, artifact in artifacts_by_id(descriptor).items()
        if artifact.digest in release.environments
    }


def _signers(release: Release) -> list[str]:
    """Describe who signed: the name of the key that verified a signature, or the id that the signature claims."""
    return sorted({_signer(signer) for signer in trust.of(release).signers})


def _signer(signer: trust.Signer) -> str:
    if signer.verdict is trust.Verdict.VALID and signer.key is not None:
        return f"{signer.key.name} ({signer.key_id})"
    return f"{signer.key_id or 'a key without an id'} ({signer.verdict})"


def _provenance(release: Release) -> list[Provenance]:
    summaries = release.attachments.filter(kind=AttachmentKind.PROVENANCE).values_list("summary", flat=True)
    return [
        Provenance(summary["builder"], summary["source"], next((each["digest"] for each in summary["materials"]), ""))
        for summary in summaries
    ]


def _packages(release: Release) -> list[Package] | None:
    rows = release.attachments.filter(kind=AttachmentKind.SBOM)
    size = rows.aggregate(size=Sum(Length("content")))["size"]
    if size is None or size > MAX_SBOM_BYTES:
        return None
    try:
        return [
            package
            for content in rows.values_list("content", flat=True)
            for package in evidence.packages_of(bytes(content))
        ]
    except DocumentError:
        return None
