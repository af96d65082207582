"""Describes valid new rows and the wrong values that the database must reject."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests import making

Change = Mapping[str, str]
"""SQL expressions by column. `source` and `script` replace those of the row. The statements of `setup` run first."""
PARTS = {"source", "script", "setup"}
PAST = "now() - interval '1 microsecond'"
SOON = "now() + interval '1 minute'"


@dataclass(frozen=True)
class NewRow:
    """A valid new row, and the changes that make the database reject it.

    `values` maps columns to SQL expressions, `source` is the FROM clause after them, and `script` is the transaction
    around the INSERT. `setup` contains statements that prepare the database with triggers disabled. `wrong` maps
    constraint or trigger names to the changes that they reject. `right` lists changes that are accepted. `free` names
    columns that accept any value. The application role writes the row if `ordinary` is true; otherwise the owner does.
    """

    table: str
    values: Change
    wrong: Mapping[str, Sequence[Change]]
    right: Sequence[Change] = ()
    free: str = ""
    source: str = ""
    script: str = "{insert}"
    setup: str = ""
    ordinary: bool = True

    @property
    def judged(self) -> set[str]:
        """The columns for which `wrong` has a value."""
        return {name for changes in self.wrong.values() for change in changes for name in change if name not in PARTS}

    def statement(self, change: Change) -> str:
        """Return the transaction that inserts the row with `change`."""
        values = {**self.values, **{name: value for name, value in change.items() if name not in PARTS}}
        columns = ", ".join(f'"{name}"' for name in values)
        source = change.get("source", self.source)
        insert = f"INSERT INTO {self.table} ({columns}) SELECT {', '.join(values.values())} {source}"
        return change.get("script", self.script).replace("{insert}", insert)

    def preparation(self, change: Change) -> list[str]:
        """Return the statements that prepare the database for `change`."""
        statements = f"{self.setup};{change.get('setup', '')}".split(";")
        return [statement.strip() for statement in statements if statement.strip()]


def each(column: str, *values: str) -> list[Change]:
    """Return one change for each value of `column`."""
    return [{column: value} for value in values]


def times(*columns: str) -> list[Change]:
    """Return changes that set each column to a time other than now()."""
    return [change for column in columns for change in each(column, PAST, SOON)]


def blanks(column: str) -> list[Change]:
    return each(column, "''", "' '", r"E'\t\n'")


def tenant(slug: str) -> str:
    return f"(SELECT id FROM tenancy_tenant WHERE slug = '{slug}')"


def pipeline(slug: str = "owner", name: str = making.PIPELINE) -> str:
    return f"(SELECT id FROM releases_pipeline WHERE tenant_id = {tenant(slug)} AND pipeline_id = '{name}')"


def release(version: str, slug: str = "owner", name: str = making.PIPELINE) -> str:
    chosen = f"release_version = '{version}' AND pipeline_id = {pipeline(slug, name)}"
    return f"(SELECT id FROM releases_release WHERE {chosen})"


def digest(text: str) -> str:
    """Return a digest that is not stored."""
    return f"'{making.digest_of(text.encode())}'"
