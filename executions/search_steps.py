"""Finds executions by the step at which they are or failed, by their keys, and by the beginning of their ids.

A step has an index, and the name that its author gave to it. Resubmissions are found by the key of the original.
"""

import re
import uuid
from collections.abc import Collection, Sequence
from functools import reduce
from operator import or_
from typing import Final

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import Exists, OuterRef, Q

from executions.models import LIVE_VALUES, DeadLetter, Execution, FailureGroup
from executions.models.states import State
from executions.questions.readable import readable_name
from releases.models import Contract, Pipeline, Release

FAILED_VALUES = [State.DLQ.value, State.FAILED.value]
_NONE = Q(pk__in=[])
MOST_RARE = 500  # executions that fulfil a rare condition


def add_failed_steps(rows: Collection[Execution]) -> None:
    """Set `failed_step` of each: the index of the step at which a failed one failed, or None."""
    failed = [row.pk for row in rows if row.status in FAILED_VALUES]
    letters = DeadLetter.objects.filter(execution__in=failed).values_list(
        "execution", "execution_version", "failed_step_index"
    )
    steps = {(pk, version): step for pk, version, step in letters} if failed else {}
    for row in rows:
        row.failed_step = steps.get((row.pk, row.version))  # type: ignore[attr-defined]  # no column


def rare(tenant_ids: Sequence[int], *conditions: Q) -> Q:
    """Match what fulfils any of the conditions. Each has an index, from which the matches are read first if it is rare.

    PostgreSQL takes rare values for more common ones, and conditions that are joined by OR have no index in common. It
    would then look for them in all executions, the newest first.
    """
    matching: set[uuid.UUID] = set()
    fulfils = reduce(or_, conditions)
    for condition in conditions:
        rows = Execution.objects.filter(condition, tenant__in=tenant_ids).order_by()
        matching.update(rows.values_list("pk", flat=True)[: MOST_RARE + 1])
        if len(matching) > MOST_RARE:
            return fulfils
    return Q(pk__in=matching) & fulfils  # they may have changed since


def at_step(tenant_ids: Sequence[int], step: int) -> Q:
    """Match live executions at the step, and failed ones whose last failure was at it.

    The groups of failures have an index on the step. The failures of smoke tests have no group.
    """
    groups = list(FailureGroup.objects.filter(tenant__in=tenant_ids, step_index=step).values_list("pk", flat=True))
    failures = DeadLetter.objects.filter(tenant__in=tenant_ids, failed_step_index=step)
    in_group = failures.filter(Q(group__in=groups) | Q(group=None), execution_version=OuterRef("version"))
    return rare(
        tenant_ids,
        Q(Exists(in_group.filter(execution=OuterRef("pk"))), status__in=FAILED_VALUES),
        Q(status__in=LIVE_VALUES, current_step_index=step),
    )


def at_named_step(tenant_ids: Sequence[int], name: str, pipeline_id: str | None) -> Q:
    """Match executions at the step of this name in the contract of their release."""
    found = named_steps(tenant_ids, name, pipeline_id)
    return reduce(or_, (Q(at_step(tenant_ids, index), release__in=found[index]) for index in found), _NONE)


def questions_of_step(tenant_ids: Sequence[int], name: str) -> Q:
    """Match questions of the step of this name in the contract of the release of their execution."""
    found = named_steps(tenant_ids, name)
    return reduce(or_, (Q(execution__release__in=found[index], step_index=index) for index in found), _NONE)


def named_steps(tenant_ids: Sequence[int], name: str, pipeline_id: str | None = None) -> dict[int, list[int]]:
    """Return the releases that have a step of this name, by its index.

    The name of the function, such as `read_lines`, matches the name that is made of it, `Read lines`.
    """
    equal = {} if pipeline_id is None else {"pipeline__pipeline_id": pipeline_id}
    names = {name, readable_name(name)}
    named = reduce(or_, (Q(document__steps__contains=[{"authoredName": authored}]) for authored in names))
    contracts = Contract.objects.filter(named, pipeline__tenant__in=tenant_ids, **equal).order_by()
    indexes: dict[int, list[int]] = {}
    for contract, steps in contracts.values_list("pk", "document__steps"):
        for index, step in enumerate(steps):
            if step.get("authoredName") in names:
                indexes.setdefault(index, []).append(contract)
    return {
        index: list(Release.objects.filter(contract__in=same).order_by().values_list("pk", flat=True))
        for index, same in indexes.items()
    }


LEAST_ID: Final = 4
"""The least number of digits of the beginning of an id."""
_ID = re.compile(r"[0-9a-f-]{4,36}")

# Adds the resubmissions of the executions that a query finds, and the resubmissions of these.
WITH_RESUBMISSIONS: Final = """
WITH RECURSIVE found (id) AS (
    ({})
    UNION
    SELECT r.new_execution_id FROM found f JOIN executions_resubmission r ON r.execution_id = f.id
)
SELECT id FROM found LIMIT {}
"""


def with_business_key(tenant_ids: Sequence[int], key: str, pipeline_id: str | None) -> Q:
    """Match the executions with this key, and their resubmissions."""
    return _with_resubmissions(tenant_ids, Q(of_pipelines(tenant_ids, pipeline_id), execution_key=key))


def with_beginning(tenant_ids: Sequence[int], text: str, pipeline_id: str | None) -> Q:
    """Match the beginning of the business key, the key, or the id.

    An id of an execution of these tenants matches it alone, so that it is found at once.
    """
    ids = _ids(text)
    if ids and ids[0] == ids[1] and Execution.objects.filter(pk=ids[0], tenant__in=tenant_ids).exists():
        return Q(pk=ids[0])
    keys = Q(of_pipelines(tenant_ids, pipeline_id), execution_key__startswith=text)
    matching = _with_resubmissions(tenant_ids, keys)
    return matching | rare(tenant_ids, Q(pk__range=ids)) if ids else matching


def of_pipelines(tenant_ids: Sequence[int], pipeline_id: str | None) -> Q:
    """Match this pipeline, or all of the tenants. The index on keys begins with the tenant and the pipeline."""
    if pipeline_id is not None:
        return Q(pipeline_id=pipeline_id)
    rows = Pipeline.objects.filter(tenant__in=tenant_ids)
    return Q(pipeline_id__in=list(rows.values_list("pipeline_id", flat=True).distinct()))


def _with_resubmissions(tenant_ids: Sequence[int], keys: Q) -> Q:
    """Match the executions with these keys, and their resubmissions if no more than MOST_RARE match.

    The ids are read first: conditions on the keys and on the links have no index in common.
    """
    submitted = Execution.objects.filter(keys, tenant__in=tenant_ids).order_by().values("pk")[: MOST_RARE + 1]
    try:
        query, parameters = submitted.query.sql_with_params()
    except EmptyResultSet:
        return Q(pk__in=[])
    with connection.cursor() as cursor:
        cursor.execute(WITH_RESUBMISSIONS.format(query, MOST_RARE + 1), parameters)
        reached = [pk for (pk,) in cursor.fetchall()]
    return Q(pk__in=reached) if len(reached) <= MOST_RARE else keys


def _ids(text: str) -> tuple[uuid.UUID, uuid.UUID] | None:
    """Return the first and the last id that begin with `text`, with or without hyphens; None if it begins no id."""
    digits = text.lower().replace("-", "")
    if not (_ID.fullmatch(text.lower()) and LEAST_ID <= len(digits) <= 32):
        return None
    first = uuid.UUID(digits.ljust(32, "0"))
    begins = text.lower() in (digits, str(first)[: len(text)])
    return (first, uuid.UUID(digits.ljust(32, "f"))) if begins else None
