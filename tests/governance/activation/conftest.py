"""One tenant for all tests of a module, with registered releases that need not be verified again."""

import copy

import pytest

from tenancy.models import Tenant
from tests import making


@pytest.fixture(scope="module")
def prepared(module_world: None) -> Tenant:
    """A tenant with the registered releases 1.0, 2.0 and 3.0. Another registration of one returns it."""
    owner = making.tenant()
    for version in ("1.0", "2.0", "3.0"):
        making.registered(owner, version)
    return owner


@pytest.fixture
def owner(prepared: Tenant) -> Tenant:
    return copy.copy(prepared)
