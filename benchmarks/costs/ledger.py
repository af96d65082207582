"""The ledger `benchmarks/costs.toml`: what each kind of work may cost, and how that compares with what was counted."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

Tables = Mapping[str, Mapping[str, int]]
"""Figures by name, as `statements`, of each kind of work."""

FILE: Final = Path(__file__).parents[1] / "costs.toml"
TOLERANCE: Final = 0.02
SLACK: Final = {"wal_bytes": 100, "broker_bytes": 100, "buffers": 5}
HISTORY: Final = {"buffers", "wal_bytes"}
"""Figures that depend on the rows that earlier work has left, so that only complete runs can be compared."""
_PAGE: Final = "page, "
UNSTABLE: Final = {
    ("page, status", "threads"),
    ("page, overview", "buffers"),
    ("page, overview, calls", "executions"),
    ("page, pipeline", "buffers"),
}
"""Figures that differ between runs. So do the transactions of all pages: a connection that ends adds its own later.

*Status* asks the servers in threads, and one may serve two questions. The statements of the two other pages read up to
a fifth more buffers in some runs. The overview adds up what finished in each minute, and a run lasts some minutes.
"""
CALLS_SLACK: Final = 3
"""A figure may differ by this from its entry, even if that is more than the tolerance. Of others, one is too many."""
PAGE_STATEMENTS: Final = 25
"""The limit of the statements of a page. No reason raises it."""
_VERSIONED: Final = re.compile(r", (calls|modules) in Python [\d.]+$")
"""The end of the names of tables that differ between versions of Python."""
_TABLE: Final = re.compile(r'\["(.+)"\]')
_ENTRY: Final = re.compile(r"(\S+) = (\d+)(?:  # (.+))?")


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure that differs notably from its entry, which counts as 0 if it is missing."""

    table: str
    name: str
    entry: int
    counted: int

    @property
    def is_higher(self) -> bool:
        return self.counted > self.entry

    def __str__(self) -> str:
        share = f" ({self.counted / self.entry - 1:+.1%})" if self.entry else ""
        return f"{self.table}: {self.name} {self.counted:,} instead of {self.entry:,}{share}"


@dataclass
class Ledger:
    tables: dict[str, dict[str, int]] = field(default_factory=dict)
    reasons: dict[tuple[str, str], str] = field(default_factory=dict)
    """Why and when an entry was raised: the comment next to it."""

    @classmethod
    def read(cls, file: Path = FILE) -> Self:
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        ledger, table = cls(tomllib.loads(text)), ""
        for line in text.splitlines():
            if match := _TABLE.fullmatch(line):
                table = match[1]
            elif (match := _ENTRY.fullmatch(line)) and match[3]:
                ledger.reasons[table, match[1]] = match[3]
        return ledger

    def write(self, file: Path = FILE) -> None:
        lines = ["# What each kind of work may cost. `make costs` compares (docs/contributing/costs.md)."]
        for table, entries in sorted(self.tables.items()):
            lines += ["", f'["{table}"]']
            for name, count in sorted(entries.items()):
                reason = self.reasons.get((table, name))
                lines.append(f"{name} = {count}" + (f"  # {reason}" if reason else ""))
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def differences(self, counted: Tables) -> list[Difference]:
        """Return the notable differences in the tables that were counted, and that the ledger has."""
        return [
            Difference(table, name, entry, count)
            for table, figures in counted.items()
            if table in self.tables
            for name, entry, count in _pairs(self.tables[table], figures)
            if not _is_unstable(table, name) and abs(count - entry) > max(TOLERANCE * entry, _slack(table, name))
        ]

    def has_version(self, version: str) -> bool:
        """Return True if the ledger has figures of this version of Python."""
        return any(table.endswith(f" in Python {version}") for table in self.tables)

    def stale(self, counted: Tables, version: str) -> list[str]:
        """Return the tables that a complete count with this version of Python should have, and does not."""
        others = [table for table in self.tables if _VERSIONED.search(table) and not table.endswith(f" {version}")]
        return sorted(set(self.tables) - set(counted) - set(others))

    def change(self, difference: Difference, reason: str = "") -> None:
        """Write the counted figure into the entry. `reason` says why it was raised, if it was."""
        entry = difference.table, difference.name
        self.tables[difference.table].pop(difference.name, None)
        self.reasons.pop(entry, None)
        if difference.counted:
            self.tables[difference.table][difference.name] = difference.counted
        if reason:
            self.reasons[entry] = f"{datetime.now(UTC):%Y-%m-%d}, from {difference.entry}: {reason}"


def over_limit(counted: Tables) -> list[str]:
    """Return the pages of the admin that send more than PAGE_STATEMENTS statements."""
    return [
        f"{table}: {statements} statements, and a page may send {PAGE_STATEMENTS}"
        for table, figures in counted.items()
        if table.startswith(_PAGE) and (statements := figures.get("statements", 0)) > PAGE_STATEMENTS
    ]


def _pairs(entries: Mapping[str, int], figures: Mapping[str, int]) -> Iterator[tuple[str, int, int]]:
    for name in sorted({*entries, *figures}):
        yield name, entries.get(name, 0), figures.get(name, 0)


def _is_unstable(table: str, name: str) -> bool:
    kind = _VERSIONED.sub(r", \1", table)
    return (kind, name) in UNSTABLE or (name == "transactions" and table.startswith(_PAGE))


def _slack(table: str, name: str) -> int:
    return CALLS_SLACK if _VERSIONED.search(table) else SLACK.get(name, 0)
