"""Finds executions by conditions that are read from query parameters.

Each condition can use an index, so that selective searches are fast. A search that is not selective ends early if many
executions match, because the list shows the newest ones first. The caller limits the time of the others with
`foundation.database.bounded`.
"""

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from django.contrib.auth.models import User
from django.core.exceptions import EmptyResultSet
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now

from executions import search_values
from executions.models import (
    CLAIMED,
    DUE_VALUES,
    IS_QUESTION,
    LIVE_VALUES,
    PAYLOADS,
    PERSON,
    DeadLetter,
    Execution,
    Interaction,
    SmokeTest,
)
from executions.models.states import State
from executions.search_steps import (
    FAILED_VALUES,
    MOST_RARE,
    at_named_step,
    at_step,
    of_pipelines,
    rare,
    with_beginning,
    with_business_key,
)
from executions.search_values import ValueCondition
from executions.workers.eligibility import stranded
from foundation import moments
from foundation.errors import InvalidRequest
from releases.models import Release
from tenancy.access import actor
from tenancy.models import ApiToken, Tenant

LIVE: Final = "live"
HELD: Final = "held"
UNSUCCESSFUL: Final = "failed"
ME: Final = "me"
"""The value of `by` that means the person who searches, and their tokens."""
STATUSES: Final = {
    LIVE: "All live executions",
    HELD: "Running, started or not",
    UNSUCCESSFUL: "Failed (FAILED or DLQ)",
    **{name: name for name in (State.QUEUED.value, CLAIMED, *(state.value for state in State if state != "QUEUED"))},
}
"""The statuses that can be searched, with labels. CLAIMED and RUNNING are both RUNNING in the database."""
LONGEST: Final = 1500
_STEP: Final = re.compile(r"\d{1,4}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Conditions on executions. An execution matches if it fulfils all that are not None.

    `step` is the index or the name of the step at which a live execution is, or at which a failed one failed. An
    execution matches `since` and `until` if it was submitted then or later, and before that. It matches `ended_since`
    if it ended then or later. It is `stranded` if it is due and no worker may run it. It matches `failure_group` if its
    newest failure is in that group. `text` is the beginning of the business key, the key, or the id. `key` is the whole
    key, and `business_key` the whole business key. `origin` is the execution that it resubmits, and `parent` the one
    that called it. `values` are conditions on values of its input.
    """

    status: str | None = None
    pipeline_id: str | None = None
    release_version: str | None = None
    error_code: str | None = None
    step: int | str | None = None
    since: datetime | None = None
    until: datetime | None = None
    ended_since: datetime | None = None
    tag: str | None = None
    smoke: bool | None = None
    submitted_by: str | None = None
    stranded: bool | None = None
    failure_group: uuid.UUID | None = None
    text: str | None = None
    key: str | None = None
    business_key: str | None = None
    origin: uuid.UUID | None = None
    parent: uuid.UUID | None = None
    tenant: str | None = None
    values: tuple[ValueCondition, ...] | None = None


def searched(status: str) -> str:
    """Return the status of a search that finds all executions with this status of the database."""
    return HELD if status == State.RUNNING else status


def parse(parameters: Mapping[str, str], *, now: datetime) -> Search:
    """Return the conditions in query parameters. Empty ones are no conditions.

    Times are RFC 3339, local times of the current time zone, or spans before `now`, such as `15m`, `2h` and `7d`.
    Conditions on values are those of `search_values`. Raises `InvalidRequest` that names each parameter that is unknown
    or has an invalid value.
    """
    values: dict[str, Any] = {"values": search_values.conditions(parameters) or None}
    errors = []
    for name, text in parameters.items():
        if name.startswith(search_values.PREFIX):
            continue
        if name not in PARAMETERS:
            errors.append({"field": name, "code": "UNKNOWN", "message": "is not a known parameter"})
        elif text.strip():
            field, read, rule = PARAMETERS[name]
            try:
                values[field] = read(text.strip(), now)
            except (ValueError, OverflowError):
                errors.append({"field": name, "code": "INVALID", "message": rule})
    if errors:
        raise InvalidRequest("; ".join(f"{error['field']} {error['message']}" for error in errors), errors=errors)
    return Search(**values)


def _read_text(text: str, _: datetime) -> str:
    if len(text) > LONGEST or "\0" in text:
        raise ValueError
    return text


def _read_status(text: str, _: datetime) -> str:
    if text not in STATUSES:
        raise ValueError
    return text


def _read_step(text: str, now: datetime) -> int | str:
    """Return the index of a step's number, or its name."""
    if not text.isdecimal():
        return _read_text(text, now)
    if not _STEP.fullmatch(text) or not int(text):
        raise ValueError
    return int(text) - 1


def _read_flag(text: str, _: datetime) -> bool:
    if text not in {"yes", "no"}:
        raise ValueError
    return text == "yes"


def _read_id(text: str, _: datetime) -> uuid.UUID:
    return uuid.UUID(text)


_TEXT_RULE: Final = f"must be a text of at most {LONGEST} characters"
PARAMETERS: Final[Mapping[str, tuple[str, Callable[[str, datetime], Any], str]]] = {
    "q": ("text", _read_text, _TEXT_RULE),
    "status": ("status", _read_status, f"must be one of {', '.join(STATUSES)}"),
    "pipeline": ("pipeline_id", _read_text, _TEXT_RULE),
    "release": ("release_version", _read_text, _TEXT_RULE),
    "error": ("error_code", _read_text, _TEXT_RULE),
    "step": ("step", _read_step, "must be the name of a step, or its number, from 1"),
    "since": ("since", moments.read, moments.RULE),
    "until": ("until", moments.read, moments.RULE),
    "ended": ("ended_since", moments.read, moments.RULE),
    "tag": ("tag", _read_text, _TEXT_RULE),
    "smoke": ("smoke", _read_flag, "must be yes or no"),
    "by": ("submitted_by", _read_text, _TEXT_RULE),
    "stranded": ("stranded", _read_flag, "must be yes or no"),
    "group": ("failure_group", _read_id, "must be the id of a failure group"),
    "tenant": ("tenant", _read_text, _TEXT_RULE),
}
"""Each query parameter: the field of `Search`, how its text is read, and what it must be."""


@dataclass(frozen=True, slots=True)
class Matches:
    """The executions of some tenants that fulfil conditions, without their inputs and results.

    An index orders the executions of one tenant by their time. If those of several tenants are `merged`, the newest of
    each are found by such an index. Otherwise they are ordered by id, which ascends with the time.
    """

    tenant_ids: Sequence[int]
    conditions: Sequence[Q]
    merged: bool

    def all(self) -> QuerySet[Execution]:
        """Return all of them, the newest first."""
        rows = _shown(Execution.objects.filter(*self.conditions, tenant__in=self.tenant_ids))
        return rows.order_by("-id") if len(self.tenant_ids) > 1 else rows

    def newest(self, most: int) -> QuerySet[Execution]:
        """Return at most the `most` newest ones, the newest first."""
        if not self.merged or len(self.tenant_ids) < 2:
            return self.all()[:most]
        tenant = RawSQL("t.id", ())  # nosec B611 - a constant
        newest = _shown(Execution.objects.filter(*self.conditions, tenant=tenant))[:most]
        try:
            query, parameters = newest.values("id", "created_at").query.sql_with_params()
        except EmptyResultSet:
            return Execution.objects.none()
        ids = RawSQL(_MERGED.format(query), [list(self.tenant_ids), *parameters, most])  # noqa: S611  # nosec B611
        return _shown(Execution.objects.filter(pk__in=ids))


_NOT_LISTED: Final = ("started_at", "parent_id", "family_due_at", "lease_token")
"""Columns that no list shows."""

# Selects the ids of the newest of the rows that a query finds for each tenant `t`.
_MERGED: Final = """
SELECT f.id FROM unnest(%s::bigint[]) AS t (id) CROSS JOIN LATERAL ({}) f
ORDER BY f.created_at DESC, f.id DESC LIMIT %s
"""
_ORDERED: Final = {"tenant", "since", "until", "error_code", "submitted_by"}
"""The conditions with which an index has the order of the time in each tenant."""


def _shown(rows: QuerySet[Execution]) -> QuerySet[Execution]:
    return rows.select_related("tenant").defer(*PAYLOADS, *_NOT_LISTED).order_by("-created_at", "-id")


def matching(tenants: Sequence[Tenant], search: Search, *, person: User | None = None) -> Matches:
    """Find the executions of `tenants` that match. Reads what the conditions need, such as the ids of rare matches.

    `person` is who searches, for the condition "submitted by me".
    """
    ids = [tenant.pk for tenant in tenants if search.tenant in (None, tenant.slug)]
    given = {field.name for field in fields(search) if getattr(search, field.name) is not None}
    if search.status in {State.CANCELLED, *FAILED_VALUES}:  # so has their index
        given.remove("status")
    merged = search.until is not None or given <= _ORDERED
    return Matches(ids, list(_conditions(ids, search, person)), merged)


def narrowed(rows: QuerySet[Execution], tenant_ids: Sequence[int], search: Search) -> QuerySet[Execution]:
    """Return those of `rows`, which belong to the tenants, that match."""
    return rows.filter(*_conditions(tenant_ids, search, None))


def named(tenants: Sequence[Tenant], text: str, most: int) -> list[Any]:
    """Return at most `most` executions that a person may mean with `text`: those that it names, and then the newest.

    It names the executions with this key, with such a value of their input, or with the question of this id. It begins
    the business key, the key or the id of the others. Sets `found_by` of each, the field and its value or "", and
    `question`, the id of its open question with the nearest deadline or None.
    """
    matches = matching(tenants, Search(text=text))
    by_value = search_values.with_value(matches.tenant_ids, text, most)
    exact = Q(*matches.conditions, execution_key=text) | Q(pk__in=list(by_value))
    if (asked := _as_id(text)) is not None:
        exact |= Q(pk__in=Interaction.objects.filter(pk=asked).values("execution"))
    open_questions = Interaction.objects.filter(IS_QUESTION, execution=OuterRef("pk")).order_by("deadline", "id")
    question = Subquery(open_questions.values("pk")[:1])
    first = _shown(Execution.objects.filter(exact, tenant__in=matches.tenant_ids)).annotate(question=question)[:most]
    executions: list[Any] = list(dict.fromkeys([*first, *matches.newest(most).annotate(question=question)]))[:most]
    for execution in executions:
        execution.found_by = f"{by_value[execution.pk]} {text}" if execution.pk in by_value else ""
    return executions


def _as_id(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _conditions(tenant_ids: Sequence[int], search: Search, person: User | None) -> Iterator[Q]:
    equal = {
        "pipeline_id": search.pipeline_id,
        "error_code": search.error_code,
        "created_at__gte": search.since,
        "created_at__lt": search.until,
    }
    yield Q(**{lookup: value for lookup, value in equal.items() if value is not None})
    if search.tag is not None:
        yield rare(tenant_ids, Q(tags__contains=[search.tag]))
    if search.status is not None:
        yield _status(search.status)
    if search.release_version is not None:
        yield _release(tenant_ids, search)
    if isinstance(search.step, str):
        yield at_named_step(tenant_ids, search.step, search.pipeline_id)
    elif search.step is not None:
        yield at_step(tenant_ids, search.step)
    if search.ended_since is not None:
        yield _ended(search.ended_since)
    if search.smoke is not None:
        yield _smoke(tenant_ids) if search.smoke else Q(smoke=False)
    if search.submitted_by is not None:
        yield _own(person) if search.submitted_by == ME and person else _by(search.submitted_by)
    if search.stranded is not None:
        matching = _stranded(tenant_ids)
        yield matching if search.stranded else ~matching
    if search.failure_group is not None:
        yield _failure_group(tenant_ids, search.failure_group)
    if search.text is not None:
        yield with_beginning(tenant_ids, search.text, search.pipeline_id)
    if search.key is not None:
        yield Q(of_pipelines(tenant_ids, search.pipeline_id), execution_key=search.key)
    if search.business_key is not None:
        yield with_business_key(tenant_ids, search.business_key, search.pipeline_id)
    for condition in search.values or ():
        yield search_values.matching(tenant_ids, search.pipeline_id, condition)
    if search.origin is not None:
        yield Q(origin__execution_id=search.origin)
    if search.parent is not None:
        yield Q(parent_id=search.parent)


def _status(status: str) -> Q:
    if status == LIVE:
        return Q(status__in=LIVE_VALUES)  # PostgreSQL estimates a list of values better than its negation
    if status == UNSUCCESSFUL:
        return Q(status__in=FAILED_VALUES)
    if status == HELD:
        return Q(status=State.RUNNING)
    if status in (CLAIMED, State.RUNNING):
        return Q(status=State.RUNNING, running_since__isnull=status == CLAIMED)
    return Q(status=status)


def _release(tenant_ids: Sequence[int], search: Search) -> Q:
    """Match the releases. No index is needed for those without executions, or with only recent ones."""
    equal = {} if search.pipeline_id is None else {"pipeline__pipeline_id": search.pipeline_id}
    releases = Release.objects.filter(pipeline__tenant__in=tenant_ids, release_version=search.release_version, **equal)
    found = dict(releases.values_list("pk", "created_at"))
    return Q(release__in=list(found), created_at__gte=min(found.values())) if found else Q(pk__in=[])


def _ended(since: datetime) -> Q:
    """Match what ended since then. Each part has an index."""
    other = Q(status__in=[State.SUCCEEDED, State.CANCELLED], finished_at__gte=since)
    return other | Q(status__in=FAILED_VALUES, finished_at__gte=since)


def _stranded(tenant_ids: Sequence[int]) -> Q:
    """Match what is due on a release that no worker may run."""
    releases = [release.release_id for release in stranded(tenant_ids)]
    return Q(status__in=DUE_VALUES, next_due_at__lte=Now(), held=False, release__in=releases)


def _failure_group(tenant_ids: Sequence[int], group: uuid.UUID) -> Q:
    """Match executions whose newest failure is in the group, even if they have run again since.

    So each execution is in one group at most, and those in FAILED_VALUES are the failures that are still open.
    """
    later = DeadLetter.objects.filter(
        execution=OuterRef("execution"), execution_version__gt=OuterRef("execution_version")
    )
    newest = DeadLetter.objects.filter(~Exists(later), tenant__in=tenant_ids, group=group)
    return Q(pk__in=newest.order_by().values("execution"))


def _smoke(tenant_ids: Sequence[int]) -> Q:
    """Match smoke tests, which have a separate table."""
    tests = SmokeTest.objects.filter(release__pipeline__tenant__in=tenant_ids).order_by()
    found = list(tests.values_list("pk", flat=True)[: MOST_RARE + 1])
    return Q(smoke=True, pk__in=found if len(found) <= MOST_RARE else tests.values("pk"))


def _by(submitter: str) -> Q:
    """Match what the submitter submitted. An index has what people submitted, which is little."""
    return Q(submitted_by=submitter) & (Q(submitted_by__startswith=PERSON) if submitter.startswith(PERSON) else Q())


def _own(person: User) -> Q:
    """Match what the person submitted, directly or with one of their tokens."""
    submitted = _by(actor(person))
    for token in ApiToken.objects.filter(user=person).only("tenant_id", "name"):
        submitted |= Q(tenant=token.tenant_id, submitted_by=actor(person, token))
    return submitted
