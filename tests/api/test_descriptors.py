"""REST: the profile of a release and the exact bytes of its descriptor."""

import pytest

from releases.models import Release
from tests import making

pytestmark = pytest.mark.django_db


def test_the_builder_makes_a_release_of_the_newer_profile() -> None:
    release: Release = making.registered_carrier(making.tenant())
    assert (release.profile, release.primary_artifact_id, release.findings) == ("tpf-2026-10", "app", [])
