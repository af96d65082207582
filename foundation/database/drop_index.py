"""An operation of migrations that drops the index of a foreign key while processes use the table."""

from typing import Any

from django.contrib.postgres.operations import NotInTransactionMixin
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState


class DropIndexOfForeignKey(NotInTransactionMixin, Operation):
    """Drops the index that Django creates for a foreign key, with CONCURRENTLY. The field then has `db_index=False`."""

    atomic = False

    def __init__(self, model_name: str, name: str) -> None:
        self.model_name, self.name = model_name, name

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        field: Any = state.models[app_label, self.model_name].fields[self.name].clone()
        field.db_index = False
        # The rendered models, if there are any. Without them, Django does not render all related models again, whose
        # tables have not changed.
        rendered = vars(state).pop("apps", None)
        state.alter_field(app_label, self.model_name, self.name, field, preserve_default=True)
        if rendered is not None:
            state.apps = rendered

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        self._ensure_not_in_transaction(schema_editor)
        name, _, _ = self._index(app_label, schema_editor, from_state)
        schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        self._ensure_not_in_transaction(schema_editor)
        name, table, column = self._index(app_label, schema_editor, from_state)
        schema_editor.execute(f"CREATE INDEX CONCURRENTLY {name} ON {table} ({column})")

    def _index(self, app_label: str, schema_editor: Any, state: ProjectState) -> tuple[str, str, str]:
        """Return the names of the index, its table and its column, quoted."""
        model = state.apps.get_model(app_label, self.model_name)
        table, column = model._meta.db_table, model._meta.get_field(self.name).column
        names = (schema_editor._create_index_name(table, [column]), table, column)
        return tuple(map(schema_editor.quote_name, names))

    def describe(self) -> str:
        return f"Drop the index of {self.model_name}.{self.name} concurrently"
