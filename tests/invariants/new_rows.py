"""Describes valid new rows and the wrong values that the database must reject.

Changes of a row are written as text. A line is `column = expression & column = expression`, with SQL expressions.
`column = a | b` stands for two changes, so a line stands for each combination. A line that starts with `&`
continues the one before. Apart from columns there are `source`, `script` and `setup`, see NewRow. `constraint: …` names
what rejects the changes of the line and of the lines after it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from foundation.database.postgresql.rights import RIGHTS
from tests import making
from tests.invariants.attempts import Connection, results
from tests.invariants.schema import fields

Change = Mapping[str, str]
PARTS = {"source", "script", "setup"}
PAST = "now() - interval '1 microsecond'"
SOON = "now() + interval '1 minute'"
OTHER_TIMES = f"{PAST} | {SOON}"
PLAIN = {
    "UUIDField": "gen_random_uuid()",
    "DateTimeField": "now()",
    "BooleanField": "false",
    "JSONField": "'{}'",
    "ArrayField": "'{}'",
    **dict.fromkeys(("IntegerField", "PositiveIntegerField", "BigIntegerField", "FloatField"), "0"),
    **dict.fromkeys(("PositiveBigIntegerField", "PositiveSmallIntegerField"), "0"),
}


def rejected(text: str) -> Iterator[tuple[str, Change]]:
    """Yield each change of the text with the name of the constraint that rejects it."""
    constraint = ""
    for line in filter(None, map(str.strip, re.sub(r"\n\s*& ", " & ", text).splitlines())):
        if named := re.fullmatch(r"(\w+): (.+)", line):
            constraint, line = named.groups()
        pairs = [part.partition(" = ") for part in line.split(" & ")]
        for values in product(*(value.split(" | ") for _, _, value in pairs)):
            yield constraint, {name: value for (name, _, _), value in zip(pairs, values, strict=True)}


def changes(text: str) -> list[Change]:
    return [change for _, change in rejected(text)]


def change(text: str) -> Change:
    return {name: value for values in changes(text) for name, value in values.items()}


def either(values: Iterable[str]) -> str:
    return " | ".join(values)


def one_line(statement: str) -> str:
    return " ".join(statement.split())


@dataclass(frozen=True)
class NewRow:
    """A valid new row, and the changes that make the database reject it.

    `chosen` has the values that matter. The other columns that the application role may insert get plain values.
    `source` is the FROM clause after the values, and `script` is the transaction around the INSERT. `setup` contains
    statements that prepare the database with triggers disabled. `wrong` names the changes that are rejected, and by
    what, `right` those that are accepted. The role writes the row if `ordinary` is true; otherwise the owner does.
    """

    table: str
    chosen: str
    wrong: str = ""
    right: str = ""
    source: str = ""
    script: str = "{insert}"
    setup: str = ""
    ordinary: bool = True

    def statement(self, text: str | Change = "") -> str:
        """Return the transaction that inserts the row with a change."""
        changed = change(text) if isinstance(text, str) else text
        plain = {name: plain_value(self.table, name) for name in RIGHTS[self.table].insertable(fields(self.table))}
        values = {**plain, **change(self.chosen), **{name: changed[name] for name in changed if name not in PARTS}}
        columns = ", ".join(f'"{name}"' for name in values)
        source = changed.get("source", self.source)
        insert = f"INSERT INTO {self.table} ({columns}) SELECT {', '.join(values.values())} {source}"
        return one_line(changed.get("script", self.script).replace("{insert}", insert))

    @property
    def attempts(self) -> list[tuple[str, Change]]:
        """The changes that are accepted and rejected, each with the expected name."""
        return [*(("", changed) for changed in ({}, *changes(self.right))), *rejected(self.wrong)]

    def result(self, database: Connection, changed: Change) -> str:
        """Return what rejects the row with a change, or "" if it is accepted."""
        setup = f"{self.setup};{changed.get('setup', '')}"
        [verdict] = results(database, [self.statement(changed)], setup=setup, ordinary=self.ordinary).values()
        return verdict


def plain_value(table: str, column: str) -> str:
    """Return an SQL expression for a column whose value does not matter."""
    field = fields(table)[column]
    if field.null:
        return "NULL"
    if column == "tenant_id":
        return tenant("owner")
    return PLAIN.get(field.get_internal_type(), "''")


def tenant(slug: str) -> str:
    return f"(SELECT id FROM tenancy_tenant WHERE slug = '{slug}')"


def pipeline(slug: str = "owner", name: str = making.PIPELINE) -> str:
    return f"(SELECT id FROM releases_pipeline WHERE tenant_id = {tenant(slug)} AND pipeline_id = '{name}')"


def release(version: str, slug: str = "owner", name: str = making.PIPELINE) -> str:
    chosen = f"release_version = '{version}' AND pipeline_id = {pipeline(slug, name)}"
    return f"(SELECT id FROM releases_release WHERE {chosen})"


def digest(text: str) -> str:
    return f"'{making.digest_of(text.encode())}'"
