"""A tenant with an active release that a healthy worker hosts, which the tests of a module share."""

import pytest

from releases.models import Release
from tenancy.models import Tenant
from tests import making


@pytest.fixture(scope="module")
def first_release(module_world: None) -> Release:
    """A module with other releases overrides this."""
    return making.ready()[1]


@pytest.fixture
def active(db: None, first_release: Release) -> Release:
    related = ("pipeline__tenant", "pipeline__activation", "contract")
    return Release.objects.select_related(*related).get(pk=first_release.pk)


@pytest.fixture
def owner(active: Release) -> Tenant:
    return active.pipeline.tenant
