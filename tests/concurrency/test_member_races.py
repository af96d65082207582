from functools import partial

import pytest
from django.conf import settings
from django.contrib.auth.models import User

from tenancy import members
from tenancy.login import Attempt
from tenancy.models import AuditEntry
from tenancy.roles import Role
from tests import making
from tests.concurrency.racing import parted, race
from tests.repetition import rounds


@pytest.mark.parametrize("_", rounds(5))
def test_no_role_waits_for_a_user_who_exists(_: int) -> None:
    tenant = making.tenant()
    add = partial(members.add, tenant, tenant.slug, Role.VIEWER, actor="user:ann")
    _results, refused = parted(race(add, partial(User.objects.create_user, tenant.slug), add))
    assert refused == []
    assert [row.user for row in tenant.memberships.all()] == [User.objects.get(username=tenant.slug)]
    assert AuditEntry.objects.filter(tenant=tenant, act="membership.add").count() == 1


def test_concurrent_attempts_to_log_in_are_all_counted() -> None:
    counted, refused = parted(race(*[Attempt("ada", "192.0.2.1").count for _ in range(12)]))
    assert len(counted) == settings.LOGIN_ATTEMPTS
    assert refused == ["LoginThrottled"] * (12 - settings.LOGIN_ATTEMPTS)
