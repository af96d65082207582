"""To activate a release that is breaking for callers, a person types its version. This prevents accidents."""

from typing import Final

from releases.activation import comparison
from releases.models import Pipeline, Release

FIELD: Final = "typed_version"
"""The name of the field with the typed version, in each form that makes a release active or requests that."""


def is_needed(pipeline: Pipeline, release: Release | None) -> bool:
    """True if `release` differs from the active release so that clients that work today fail."""
    active = pipeline.activation.release if pipeline.activation else None
    if active is None or release is None or active.pk == release.pk:
        return False
    return comparison.breaks_callers(active, release)


def missing(pipeline: Pipeline, release: Release, typed: str) -> str:
    """Return what the user must still do, or "" if `typed` confirms the release or no confirmation is needed."""
    if typed.strip() == release.release_version or not is_needed(pipeline, release):
        return ""
    return (
        f"Release {release.release_version} is breaking for callers. Type its version, {release.release_version}, "
        "to confirm that you want it."
    )
