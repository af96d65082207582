"""Finds executions by their keys and the beginning of their ids. Resubmissions are found by the key of the original."""

import re
import uuid
from collections.abc import Sequence
from typing import Final

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import Q

from executions.models import Execution
from executions.search_steps import MOST_RARE, rare
from releases.models import Pipeline

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
    found = _with_resubmissions(tenant_ids, keys)
    return found | rare(tenant_ids, Q(pk__range=ids)) if ids else found


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
        found = [pk for (pk,) in cursor.fetchall()]
    return Q(pk__in=found) if len(found) <= MOST_RARE else keys


def _ids(text: str) -> tuple[uuid.UUID, uuid.UUID] | None:
    """Return the first and the last id that begin with `text`, with or without hyphens; None if it begins no id."""
    digits = text.lower().replace("-", "")
    if not (_ID.fullmatch(text.lower()) and LEAST_ID <= len(digits) <= 32):
        return None
    first = uuid.UUID(digits.ljust(32, "0"))
    begins = text.lower() in (digits, str(first)[: len(text)])
    return (first, uuid.UUID(digits.ljust(32, "f"))) if begins else None
