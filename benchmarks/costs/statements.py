"""Counts the buffers of each statement of the product with many rows of uneven tenants, and measures the CPU time.

`python -m benchmarks.costs.statements FOLDER ROWS [PART…]` does the kinds of work of the ledger, opens the pages of the
admin, reads the lists of the API and of the admin, and removes executions. Prints the buffers of each statement and the
costs by kind of work, and the indexes of the loaded tables that no statement used. A separate process, because the
product reads its settings once.
"""

import gc
import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from pathlib import Path
from typing import Final

import django

django.setup()

import psycopg
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client

from benchmarks import admin_pages, uneven
from benchmarks.costs import kinds, lists, pages
from benchmarks.costs.installation import TENANT
from benchmarks.costs.measuring import Work
from benchmarks.costs.world import World, WorldError, claim_due, request
from coordinator.celery import app
from executions.lifecycle import retention
from executions.models import Execution
from executions.models.execution import WAITS_FOR_PLACE
from executions.submission import places
from tenancy.access import issue_token
from tenancy.roles import Scope

TIMES: Final = 3
Cost = tuple[float, int, float, str]
"""Milliseconds of CPU time of this process, statements, milliseconds of the slowest statement, and its id."""
_RESET: Final = "SELECT pg_stat_statements_reset()"
_READ: Final = """
SELECT queryid::text, min(query),
    sum(shared_blks_hit + shared_blks_read + temp_blks_read + temp_blks_written)::bigint, sum(calls)::int,
    max(max_exec_time)
FROM pg_stat_statements WHERE userid <> (SELECT oid FROM pg_roles WHERE rolname = current_user) GROUP BY queryid
"""
_UNREAD: Final = """
SELECT s.indexrelname FROM pg_stat_user_indexes s JOIN pg_index i USING (indexrelid)
WHERE s.idx_scan = 0 AND NOT i.indisunique AND s.relname = ANY (%s) ORDER BY s.indexrelname
"""
_SOME: Final = """
SELECT e.id, f.id, (SELECT c.parent_id FROM executions_execution c WHERE c.parent_id IS NOT NULL LIMIT 1)
FROM executions_execution e, executions_failuregroup f
WHERE e.tenant_id = %(tenant)s AND f.tenant_id = %(tenant)s ORDER BY e.created_at DESC, f.last_seen_at DESC
OFFSET 0 LIMIT 1
"""


def main(folder: Path, rows: int, parts: list[str]) -> None:
    for database in connections.settings.values():
        database["CONN_MAX_AGE"] = None
    connection = psycopg.connect(os.environ["COSTS_DATABASE_URL"], autocommit=True)
    connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    app.loader.import_default_modules()
    world = World(folder)
    User.objects.create_user(uneven.PERSON, is_staff=True)
    for module in ("three_steps", "asking"):
        for version in range(2, uneven.RELEASES + 1):
            world.register(module, str(version))
    world.submit("three_steps")
    world.complete(claim_due(1))
    began = time.monotonic()
    uneven.load(connection, rows)
    print(f"{rows:,} executions loaded in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    gc.freeze()
    figures: dict[str, dict[str, int]] = {}
    costs: dict[str, Cost] = {}
    texts: dict[str, str] = {}
    works = (
        _places(world),  # before the sweep gives the places
        kinds.all_kinds(world),
        pages.all_pages(world, connection),
        _lists(world, connection),
        _removal(connection),
    )
    for work in chain.from_iterable(works):
        if not parts or any(part in work.name for part in parts):
            figures[work.name], costs[work.name] = _measured(world, connection, work, texts)
    unread = [name for (name,) in connection.execute(_UNREAD, [list(uneven.TABLES)])]
    json.dump({"buffers": figures, "costs": costs, "texts": texts, "unread": unread}, sys.stdout)
    sys.stdout.flush()


def _places(world: World) -> Iterator[Work]:
    """Yield the decisions about places of concurrency keys."""
    waiting = Execution.objects.filter(tenant=world.tenant, finished_at=None, next_due_at__gte=WAITS_FOR_PLACE)
    ids = iter(waiting.values_list("pk", flat=True))
    yield Work("places of ten keys", places.grant, lambda: list(islice(ids, 10)), warm_up=1)


def _lists(world: World, connection: psycopg.Connection) -> Iterator[Work]:
    """Yield the lists of `lists`, and the list of executions with each filter."""
    row = connection.execute(_SOME, {"tenant": world.tenant.pk}).fetchone()
    if row is None:
        raise WorldError("There is no execution or no group of failures.")
    moments = {"soon": timedelta(minutes=5), "early": timedelta(days=29)}
    now = datetime.now(UTC)
    some = {name: f"{now - age:%Y-%m-%dT%H:%M:%SZ}" for name, age in moments.items()}
    some |= {"some": str(row[0]), "group": str(row[1]), "parent": str(row[2])}
    _, token = issue_token(world.tenant, User.objects.get(username=TENANT), "growth", list(Scope), lifetime=None)
    bearer = {"HTTP_AUTHORIZATION": f"Bearer {token}", "CONTENT_TYPE": "application/json"}
    for name, path in lists.API.items():
        yield _request(f"API, {name}", "GET", f"/api/v1/tenants/{TENANT}/{path.format(**some)}", bearer)
    for name, filters in lists.PREVIEWS.items():
        body = json.dumps({"filters": filters, "allowFailed": True}).encode()
        yield _request(f"API, {name}", "POST", f"/api/v1/tenants/{TENANT}/campaigns/preview", bearer, body)
    person = Client(headers={"host": "127.0.0.1:8000"})
    person.force_login(User.objects.get(username=uneven.PERSON))
    cookies = {"HTTP_COOKIE": person.cookies.output(header="", sep=";")}
    known = admin_pages.addresses(connection, "benchmarks.three-steps")
    searches = {name: address for name, address in known.items() if name.startswith("executions")}
    for name, address in {**lists.ADMIN, **searches}.items():
        yield _request(f"admin, {name}", "GET", f"/admin/{address.format(**some)}", cookies)


def _removal(connection: psycopg.Connection) -> Iterator[Work]:
    """Yield the removal of a batch. There is enough for it with few executions, too."""
    connection.execute("UPDATE tenancy_tenant SET retention_days = 1 WHERE slug = %s", [TENANT])
    yield Work("removal of a batch", lambda _: retention.remove(seconds=0), warm_up=1)


def _request(name: str, method: str, address: str, headers: dict[str, str], body: bytes = b"") -> Work:
    return Work(name, lambda _: request(method, address, body, headers), warm_up=1)


def _measured(
    world: World, connection: psycopg.Connection, work: Work, texts: dict[str, str]
) -> tuple[dict[str, int], Cost]:
    """Return the buffers of each statement with those of temporary files, and the cost: the least of `TIMES` runs.

    The keys are the ids that PostgreSQL gives statements of the same form. Their texts are added to `texts`.
    """
    numbers: dict[str, int] = {}
    costs: list[Cost] = []
    for number in range(work.warm_up + TIMES):
        prepared = work.prepare()
        world.refresh()
        connection.execute(_RESET)
        began = time.process_time()
        work.run(prepared)
        cpu = (time.process_time() - began) * 1e3
        if number >= work.warm_up:
            rows = connection.execute(_READ).fetchall()
            texts |= {identity: " ".join(text.split()) for identity, text, *_ in rows}
            numbers = {identity: min(count, numbers.get(identity, count)) for identity, _, count, *_ in rows}
            slowest, longest = max(((ms, identity) for identity, *_, ms in rows), default=(0.0, ""))
            costs.append((cpu, sum(calls for *_, calls, _ in rows), slowest, longest))
    cpus, calls, *_ = zip(*costs, strict=True)
    *_, slowest, longest = min(costs, key=lambda cost: cost[2])
    return numbers, (min(cpus), min(calls), slowest, longest)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
    os._exit(0)  # do not wait for threads
