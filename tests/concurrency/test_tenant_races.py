from functools import partial

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import OperationalError, connection

from executions.models import Execution
from executions.submission.submission import Submission
from tenancy import members
from tenancy.login import Attempt
from tenancy.models import AuditEntry, Tenant
from tenancy.roles import Role
from tests import making
from tests.concurrency.sessions import another_session, parted, race, results_of
from tests.concurrency.test_place_races import submitted
from tests.repetition import rounds

CLIENTS = 37


@pytest.mark.parametrize("batch", [1, 3])
def test_racing_submissions_use_up_a_quota_exactly(batch: int) -> None:
    owner = making.tenant()
    making.ready(owner)
    Tenant.objects.filter(pk=owner.pk).update(quota_open_executions=CLIENTS)
    owner.refresh_from_db()

    def submit(number: int) -> int:
        """Submit four batches. Return how many executions were accepted."""
        batches = [[({"n": 1}, f"{number}-{part}-{place}") for place in range(batch)] for part in range(4)]
        verdicts = [verdict for inputs in batches for verdict in submitted(owner, *inputs)]
        return sum(isinstance(verdict, Submission) for verdict in verdicts)

    accepted = sum(results_of(race(*(partial(submit, number) for number in range(CLIENTS)))))
    assert accepted == Execution.objects.filter(tenant=owner).count() == CLIENTS


def test_permits_are_free_again_if_the_database_fails_while_more_are_taken() -> None:
    owner, _ = making.ready()
    Tenant.objects.filter(pk=owner.pk).update(quota_open_executions=1000)
    owner.refresh_from_db()

    for key in "abcd":
        making.submitted(owner, key)  # the fourth takes a grant of four permits
    with another_session() as other, connection.cursor() as cursor:
        other.execute("SELECT FROM tenancy_allowance FOR UPDATE")
        cursor.execute("SET lock_timeout = '20ms'")
        with pytest.raises(OperationalError):
            submitted(owner, *(({"n": 1}, f"k{number}") for number in range(20)))
        assert [type(made) for made in submitted(owner, ({"n": 1}, "e"), ({"n": 1}, "f"))] == [Submission] * 2


# --- members and log-ins ---


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
