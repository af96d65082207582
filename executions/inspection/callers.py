"""Checks recent inputs of a pipeline against the contract of a release: whose submissions would be refused?

Only stored inputs of the last days are read: a bounded sample, for a bounded time. An answer contains no values.
"""

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.db import connection

from executions.submission.admission import shape_of_input, wrong_places
from releases.models import Release
from wire.documents.canonical_types import declared_names
from wire.documents.contract import Contract, contract_from_json

DAYS: Final = 7
SCANNED: Final = 20_000
"""The most executions of the tenant among which those of the pipeline are looked for, newest first."""
MOST_INPUTS: Final = 200
INPUTS_PER_CALLER: Final = 20
EXAMPLES_PER_CALLER: Final = 3
LARGEST_INPUT: Final = 64 * 1024
"""An input that takes more bytes in the table, where it is compressed, is not checked."""
LONGEST_CHECK_SECONDS: Final = 1.0
_BATCH: Final = 100
"""How many inputs are read at a time, so that not all of them take memory at once."""


# Describes the recent submissions of a tenant's pipelines, each time from the newest %(scanned)s executions of the
# tenant that are no smoke tests: an index on the tenant and the time has them in this order. `own` are those of the
# requested pipelines.
RECENT = """
WITH newest AS (
    SELECT e.id, e.pipeline_id, e.release_id, e.submitted_by, e.created_at
    FROM executions_execution e
    WHERE e.tenant_id = %(tenant)s AND e.created_at > now() - make_interval(days => %(days)s) AND NOT e.smoke
    ORDER BY e.created_at DESC, e.id DESC LIMIT %(scanned)s
), scan AS (
    SELECT CASE WHEN count(*) < %(scanned)s THEN now() - make_interval(days => %(days)s)
        ELSE min(created_at) END AS since
    FROM newest
)
"""

# Returns since when all submissions were read, how many the pipeline had, how many callers made them, how many came in
# the last hour, and the minutes of that hour that were read; and a sample of them. The sample has the newest executions
# of each caller, at most %(each)s, and at most %(most)s in total. It takes one of each caller before a second of any.
# Each row has the totals. A pipeline without submissions has one row, whose execution is null.
_SUBMISSIONS = f"""{RECENT}, own AS (
    SELECT n.*, row_number() OVER (PARTITION BY submitted_by ORDER BY created_at DESC, id DESC) AS place,
        count(*) OVER (PARTITION BY submitted_by) AS executions
    FROM newest n WHERE n.pipeline_id = %(pipeline)s
), totals AS (
    SELECT scan.since, t.*, extract(epoch FROM now() - greatest(scan.since, now() - interval '1 hour'))::float / 60
        AS minutes
    FROM scan, (
        SELECT count(*) AS submissions, count(*) FILTER (WHERE place = 1) AS callers,
            count(*) FILTER (WHERE created_at > now() - interval '1 hour') AS last_hour
        FROM own
    ) t
), sample AS (
    SELECT id, submitted_by, created_at, executions, place FROM own WHERE place <= %(each)s
    ORDER BY place, created_at DESC LIMIT %(most)s
)
SELECT t.since, t.submissions, t.callers, t.last_hour, t.minutes, s.id, s.submitted_by, s.created_at, s.executions
FROM totals t LEFT JOIN sample s ON true ORDER BY s.place, s.created_at DESC
"""  # noqa: S608  # nosec B608

# Returns the callers whose recent executions are pinned to a release, with their number and the time of the newest.
_CALLERS_OF_RELEASE = f"""{RECENT}
SELECT n.submitted_by, count(*), max(n.created_at) FROM newest n WHERE n.release_id = %(release)s
GROUP BY n.submitted_by ORDER BY count(*) DESC, n.submitted_by LIMIT {MOST_INPUTS}
"""  # noqa: S608  # nosec B608

# Returns stored inputs with their shapes, and whether they were submitted in typed payloads, which choose their shape.
# Inputs that take more than %(largest)s bytes in the table are missing.
_INPUTS = """
SELECT e.id, e.input, e.input_shape, EXISTS (
    SELECT FROM executions_wireform w WHERE w.execution_id = e.id AND w.input IS NOT NULL)
FROM executions_execution e WHERE e.id = ANY(%(ids)s) AND pg_column_size(e.input) <= %(largest)s
"""


@dataclass(frozen=True, slots=True)
class Example:
    """An input that would be refused: the first place that does not have the type, and the rule that it breaks."""

    execution_id: uuid.UUID
    path: str
    rule: str


@dataclass(slots=True)
class Caller:
    """A user or a token that submitted executions, `executions` of them. The newest of their inputs are `checked`."""

    name: str
    executions: int
    newest_at: datetime
    checked: int = 0
    failing: int = 0
    examples: list[Example] = field(default_factory=list)

    def note(self, execution_id: uuid.UUID, wrong: Sequence[tuple[str, str]]) -> None:
        self.checked += 1
        if not wrong:
            return
        self.failing += 1
        path, rule = wrong[0]
        if len(self.examples) < EXAMPLES_PER_CALLER and all((path, rule) != (e.path, e.rule) for e in self.examples):
            self.examples.append(Example(execution_id, path, rule))


@dataclass(frozen=True, slots=True)
class Callers:
    """The recent submissions of a pipeline. All of them since `since` were read.

    `count` callers made `submissions` of them, and `per_minute` is the rate of the last hour. `callers` are those in
    the sample, first those with most failing inputs. `sampled` is the size of the sample.
    """

    since: datetime
    submissions: int
    count: int
    per_minute: float
    sampled: int
    callers: list[Caller]

    @property
    def checked(self) -> int:
        return sum(caller.checked for caller in self.callers)

    @property
    def failing(self) -> int:
        return sum(caller.failing for caller in self.callers)

    @property
    def rounded_rate(self) -> float:
        return round(self.per_minute, 2)


def callers(release: Release, active: Release | None) -> Callers:
    """Check recent inputs of the pipeline against the first step of `release`.

    A name in a path is shown if a type of `release` or of the `active` one declares it.
    """
    pipeline = release.pipeline
    parameters: dict[str, Any] = {
        "tenant": pipeline.tenant_id,
        "pipeline": pipeline.pipeline_id,
        "days": DAYS,
        "scanned": SCANNED,
        "each": INPUTS_PER_CALLER,
        "most": MOST_INPUTS,
    }
    with connection.cursor() as cursor:
        cursor.execute(_SUBMISSIONS, parameters)
        rows = cursor.fetchall()
    [(since, submissions, count, last_hour, minutes, *_), *_] = rows
    sample = [(pk, name, at, executions) for *_, pk, name, at, executions in rows if pk is not None]
    by_name = {name: Caller(name, executions, at) for _, name, at, executions in reversed(sample)}
    contract = _contract(release)
    if contract is not None:
        shown = _declared(contract) | _declared(_contract(active) if active else None)
        names = {execution_id: name for execution_id, name, _, _ in sample}
        for execution_id, wrong in _checked(contract, list(names), shown):
            by_name[names[execution_id]].note(execution_id, wrong)
    ordered = sorted(by_name.values(), key=lambda caller: (-caller.failing, -caller.executions, caller.name))
    return Callers(since, submissions, count, last_hour / minutes if minutes else 0.0, len(sample), ordered)


def callers_of(release: Release) -> list[Caller]:
    """Return who submitted recent executions that are pinned to `release`, those with the most executions first.

    None of their inputs is checked.
    """
    pipeline = release.pipeline
    parameters = {"tenant": pipeline.tenant_id, "days": DAYS, "scanned": SCANNED, "release": release.pk}
    with connection.cursor() as cursor:
        cursor.execute(_CALLERS_OF_RELEASE, parameters)
        return [Caller(*row) for row in cursor.fetchall()]


def _checked(
    contract: Contract, ids: Sequence[uuid.UUID], shown: AbstractSet[str]
) -> Iterator[tuple[uuid.UUID, list[tuple[str, str]]]]:
    """Yield what is wrong with each input, until the time is over."""
    deadline = time.monotonic() + LONGEST_CHECK_SECONDS
    for first in range(0, len(ids), _BATCH):
        with connection.cursor() as cursor:
            cursor.execute(_INPUTS, {"ids": list(ids[first : first + _BATCH]), "largest": LARGEST_INPUT})
            stored = cursor.fetchall()
        for execution_id, text, shape, chose in stored:
            if time.monotonic() > deadline:
                return
            wanted = shape_of_input(contract, shape if chose else None)
            yield execution_id, wrong_places(contract, json.loads(text), wanted, shown=shown)


def _contract(release: Release) -> Contract | None:
    return contract_from_json(release.contract.document) if release.contract else None


def _declared(contract: Contract | None) -> AbstractSet[str]:
    return declared_names(contract.canonical_types) if contract else frozenset()
