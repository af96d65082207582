"""The result of a slow check of the workers is cached for as long as that of a fast one."""

from threading import Event
from typing import Any

import psycopg
import pytest
from django.db import connection

from executions.submission import admission
from tests import making
from tests.building import eventually
from tests.clock import Clock
from tests.concurrency.racing import race, results_of

pytestmark = pytest.mark.usefixtures("committed")
WAITING = (
    "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'executions_worker'::regclass "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def test_the_result_of_a_slow_check_is_cached_from_the_end_of_the_check(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SUBMISSION_CACHE_SECONDS = 600
    clock = Clock(monkeypatch)
    owner, _ = making.ready()
    locked = Event()

    def make_it_wait() -> None:
        """Lock the workers' table until the check waits for it, for as long as an admission is cached."""
        with psycopg.connect(**connection.get_connection_params()) as holder:
            holder.execute("LOCK TABLE executions_worker IN ACCESS EXCLUSIVE MODE")
            locked.set()
            eventually(lambda: holder.execute(WAITING).fetchone(), what="the check")
            clock.ahead += settings.SUBMISSION_CACHE_SECONDS

    def submit() -> bool:
        assert locked.wait(30)
        making.execution(owner)
        return admission.cached(owner, making.PIPELINE) is not None

    assert results_of(race(make_it_wait, submit)) == [None, True]
