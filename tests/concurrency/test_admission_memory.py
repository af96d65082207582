"""A check of the workers that takes long is remembered as long as any other."""

import time
from threading import Event
from typing import Any

import psycopg
import pytest
from django.db import connection

from executions.submission import admission
from tests import making
from tests.building import eventually
from tests.concurrency.racing import race, results_of

pytestmark = pytest.mark.usefixtures("committed")
WAITING = (
    "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'executions_worker'::regclass "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def test_what_a_slow_check_found_is_remembered_from_its_end_on(settings: Any) -> None:
    settings.SUBMISSION_CACHE_SECONDS = 600
    owner, _ = making.ready()
    locked = Event()

    def make_it_wait() -> float:
        """Hold the workers' table until the check waits for it. Returns until when."""
        with psycopg.connect(**connection.get_connection_params()) as holder:
            holder.execute("LOCK TABLE executions_worker IN ACCESS EXCLUSIVE MODE")
            locked.set()
            eventually(lambda: holder.execute(WAITING).fetchone(), what="the check")
            return time.monotonic()

    def submit() -> float:
        assert locked.wait(30)
        making.execution(owner)
        kept = admission.remembered(owner, making.PIPELINE)
        assert kept is not None
        return kept.made_at

    let_go, remembered_from = results_of(race(make_it_wait, submit))
    assert remembered_from >= let_go
