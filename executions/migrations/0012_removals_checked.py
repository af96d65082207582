"""Validates the foreign keys that remove histories. Nothing waits for it: it reads the tables, and locks no row."""

from django.db import migrations

VALIDATE = """
DO $$
DECLARE
    k record;
BEGIN
    FOR k IN SELECT conrelid::regclass AS history, conname AS name FROM pg_constraint
        WHERE contype = 'f' AND confdeltype = 'c' AND NOT convalidated
            AND conrelid::regclass::text LIKE 'executions\\_%'
    LOOP
        EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT %I', k.history, k.name);
    END LOOP;
END $$;
"""


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("executions", "0011_removals"),)
    operations = (migrations.RunSQL(VALIDATE),)
