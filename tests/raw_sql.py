from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction

from tests.raising import error_of

E = TypeVar("E", bound=BaseException)


@contextmanager
def as_owner() -> Iterator[None]:
    """Run the block as the owner of the tables, who may change every column. Restore the caller's role afterwards."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        [(role,)] = cursor.fetchall()
        with transaction.atomic():  # a rollback restores the role
            cursor.execute("RESET ROLE")
            yield
            cursor.execute("SELECT set_config('role', %s, false)", [role])


def run(sql: str, *parameters: Any) -> None:
    with as_owner(), connection.cursor() as cursor:
        cursor.execute(sql, parameters)


def refused(sql: str, *parameters: Any) -> str:
    """Assert that a constraint rejects `sql`, and return its name."""
    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        run(sql, *parameters)
    name = caught.value.__cause__.diag.constraint_name  # type: ignore[union-attr]
    return str(name)


def rows(table: type[Any]) -> list[Any]:
    return list(table.objects.order_by("pk").values())


def rows_read(table: type[Any]) -> int:
    """Return how many rows of the table this transaction has read."""
    counts = "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables WHERE relname = %s"
    with connection.cursor() as cursor:
        cursor.execute(counts, [table._meta.db_table])
        [(count,)] = cursor.fetchall()
    return int(count)


@contextmanager
def unchanged(*tables: type[Any]) -> Iterator[None]:
    """Assert that the block changes no row of `tables`; by default, of all tables of executions."""
    models = tables or [model for model in apps.get_app_config("executions").get_models() if model._meta.managed]
    names = [model._meta.db_table for model in models]
    before = _digests(names)
    yield
    assert _digests(names) == before


def raised(error: type[E], call: Callable[..., object], *arguments: Any, **members: Any) -> E:
    """Return the error that the call raises. Assert that the call changes no row of executions."""
    with unchanged():
        return error_of(error, call, *arguments, **members)


def _digests(names: Sequence[str]) -> dict[str, str]:
    """Return a digest of the rows of each table."""
    queries = [f"(SELECT md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM {name} t)" for name in names]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(queries)}")
        return dict(zip(names, cursor.fetchone(), strict=True))


@contextmanager
def unguarded(table: type[Any]) -> Iterator[None]:
    """Disable the triggers of `table` during the block."""
    name = table._meta.db_table
    with as_owner():
        run(f"SET CONSTRAINTS ALL IMMEDIATE; ALTER TABLE {name} DISABLE TRIGGER USER")
        yield
        run(f"ALTER TABLE {name} ENABLE TRIGGER USER; SET CONSTRAINTS ALL DEFERRED")


@contextmanager
def slow(table: type[Any]) -> Iterator[None]:
    """Let each query of `table` take a minute during the block."""
    name = table._meta.db_table
    check_foreign_keys_now()
    run(
        f"ALTER TABLE {name} RENAME TO fast; CREATE VIEW {name} AS SELECT * FROM fast"
        f" WHERE (SELECT pg_sleep(60)) IS NOT NULL; GRANT SELECT ON {name} TO PUBLIC"
    )
    yield
    run(f"DROP VIEW {name}; ALTER TABLE fast RENAME TO {name}")


def check_foreign_keys_now() -> None:
    """Run pending foreign key checks, because a table with pending checks cannot be altered."""
    run("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS activation_moves_pointer, release_revoked_with_reason DEFERRED")


def refuse(table: str, change: str, condition: str) -> None:
    """Let the database reject matching changes of the table until the transaction of the test ends."""
    check_foreign_keys_now()
    run(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'refused by the test'; END $$"
    )
    run(f"CREATE TRIGGER refuse BEFORE {change} ON {table} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION refuse()")
    run("SET CONSTRAINTS ALL DEFERRED")
