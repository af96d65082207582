"""Writes `coordinator/schema.sql` after a change of migrations: `python -m tests.schema_script`."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection
from django.db.migrations.executor import MigrationExecutor

_ELSEWHERE = re.compile(r'SELECT|GRANT|INSERT INTO "django_migrations"')
"""Statements that change no schema. `coordinator.schema` records the migrations, and `migrate` grants all rights."""


def written() -> str:
    """Migrate the connected, empty database step by step. Return the script that does the same."""
    parts: list[str] = []

    def begin(action: str, *arguments: Any) -> None:
        if action == "apply_start":
            parts.append(f"\n-- {arguments[0]}")

    with _noting(parts.append):
        executor = MigrationExecutor(connection, begin)
        executor.migrate(executor.loader.graph.leaf_nodes())
    return "\n".join(parts) + "\n"


@contextmanager
def _noting(note: Callable[[str], Any]) -> Iterator[None]:
    """Call `note` with each statement that changes the schema. It runs in a transaction, and nobody waits for it."""

    def execute(run: Callable[..., Any], statement: Any, parameters: Any, many: bool, context: Any) -> Any:
        text = context["cursor"].cursor.mogrify(statement, parameters).strip().rstrip(";")
        if not _ELSEWHERE.match(text):
            note(text.replace("INDEX CONCURRENTLY", "INDEX") + ";")
        return run(statement, parameters, many, context)

    with connection.execute_wrapper(execute):
        yield


def main() -> None:
    from coordinator.cli import fill_in
    from embedded.product import Backing

    with Backing(durable=False, outside={}) as backing:
        fill_in(["help"])
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "coordinator.settings",
            "DATABASE_URL": backing.environment()["DATABASE_OWNER_URL"],
        }
        import django

        django.setup()
        from coordinator.schema import SCRIPT

        SCRIPT.write_text(written(), encoding="utf-8")
        connection.close()


if __name__ == "__main__":
    main()
