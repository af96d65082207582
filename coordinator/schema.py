"""The tables of a new database, from one script that repeats what the migrations execute.

Most of the time of migrations is Django's: it computes what all models were like at each step.
A test compares the script with the migrations, and writes a new one.
"""

import re
from pathlib import Path
from typing import Final

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

SCRIPT: Final = Path(__file__).with_name("schema.sql")
_HEADING: Final = re.compile(r"^-- (\w+)\.(\w+)$", re.MULTILINE)
"""The line before the statements of each migration."""


def create(connection: BaseDatabaseWrapper) -> None:
    """Create the tables in one transaction, and record the migrations of the script as applied.

    Do nothing if there are tables, or if a library has other migrations than those of the script: the steps are needed.
    """
    if connection.introspection.table_names(include_views=True):
        return
    script = SCRIPT.read_text(encoding="utf-8")
    migrations = _HEADING.findall(script)
    if not MigrationLoader(None, ignore_no_migrations=True).disk_migrations.keys() >= {*migrations}:
        return
    recorder = MigrationRecorder(connection)
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute(script, None)
        recorder.migration_qs.bulk_create([recorder.Migration(app=app, name=name) for app, name in migrations])
