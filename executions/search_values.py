"""Finds executions by values of their inputs, which their releases declare as `search`.

A condition names a field: `search.customer=c-17`, or the ends of a range: `search.total.from=10&search.total.to=20`.
"""

import re
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection
from django.db.models import Exists, OuterRef, Q

from executions.models import Execution, SearchValue
from executions.search_steps import MOST_RARE
from foundation.errors import InvalidRequest
from releases.models import Pipeline, Release
from wire.documents.search import NAME, NAME_RULE, Kind, SearchField, read

PREFIX: Final = "search."
_ENDS: Final = {"from": "gte", "to": "lt"}
_LONGEST: Final = 1500
_PARAMETER: Final = re.compile(rf"search\.({NAME.pattern})(?:\.(from|to))?")
RULE: Final = "must be a number or a time, such as 12.50, 2026-01-31 or 2026-01-31T14:00:00Z"


@dataclass(frozen=True, slots=True)
class ValueCondition:
    """A condition on the values of one field, from its query parameters.

    A value matches `equal`, as a text, number or time. It is not less than `start`, and less than `end`.
    """

    name: str
    equal: str | None = None
    start: str | None = None
    end: str | None = None


def conditions(parameters: Mapping[str, str]) -> tuple[ValueCondition, ...]:
    """Return the conditions of the parameters that begin with `PREFIX`, in the order of their names.

    Parameters without a value are no conditions. Raises `InvalidRequest` that names each wrong parameter.
    """
    fields: dict[str, dict[str, str]] = {}
    errors = []
    for parameter, text in parameters.items():
        if not parameter.startswith(PREFIX) or not (value := text.strip()):
            continue
        named = _PARAMETER.fullmatch(parameter)
        if named is None:
            errors.append(_error(parameter, "UNKNOWN", f"names no field: {NAME_RULE}"))
        elif named[2] is not None and _bound(value) is None:
            errors.append(_error(parameter, "INVALID", RULE))
        elif len(value) > _LONGEST or "\0" in value:
            errors.append(_error(parameter, "INVALID", f"must be a text of at most {_LONGEST} characters"))
        else:
            member = {None: "equal", "from": "start", "to": "end"}[named[2]]
            fields.setdefault(named[1], {})[member] = value
    _refuse(errors)
    return tuple(ValueCondition(name, **members) for name, members in sorted(fields.items()))


def field_of(parameter: str) -> str:
    """Return NAME for `search.NAME`; an empty text for another parameter."""
    named = _PARAMETER.fullmatch(parameter)
    return "" if named is None or named[2] else named[1]


def declared(tenant_ids: Sequence[int], pipeline_id: str) -> tuple[SearchField, ...]:
    """Return the fields that the active releases of the tenants' pipelines with this id declare, each name once."""
    from wire.documents.search_types import fields_of  # many installations need it never

    pipelines = Pipeline.objects.filter(tenant__in=tenant_ids, pipeline_id=pipeline_id, activation__isnull=False)
    active = Release.objects.filter(activations__in=pipelines.values("activation")).select_related("contract")
    fields = [field for release in active for field in fields_of(release.search, *_input_type(release))]
    return tuple({field.name: field for field in fields}.values())


def _input_type(release: Release) -> tuple[dict[str, Any], str | None]:
    document = release.contract.document if release.contract else {}
    steps = document.get("steps") or [{}]
    return document.get("canonicalTypes") or {}, steps[0].get("inputTypeId")


def _error(parameter: str, code: str, rule: str) -> dict[str, str]:
    return {"field": parameter, "code": code, "message": rule}


def _refuse(errors: Sequence[dict[str, str]]) -> None:
    if errors:
        raise InvalidRequest("; ".join(f"{error['field']} {error['message']}" for error in errors), errors=list(errors))


def _bound(text: str) -> tuple[Kind, str] | None:
    """Return the kind of an end of a range, and its value; None for another text."""
    for kind in (Kind.NUMBER, Kind.TIME):
        if value := read(kind, text):
            return kind, value
    return None


def matching(tenant_ids: Sequence[int], pipeline_id: str | None, condition: ValueCondition) -> Q:
    """Match the executions of the tenants with such a value. At most `MOST_RARE` of them are read first.

    Raises `InvalidRequest` for an unknown field: and no release of the pipeline, or of the tenants, declares the field.
    """
    equal = {} if pipeline_id is None else {"pipeline_id": pipeline_id}
    pipelines = list(Pipeline.objects.filter(tenant__in=tenant_ids, **equal).order_by().values_list("pk", flat=True))
    values = SearchValue.objects.filter(_compared(condition), pipeline__in=pipelines, name=condition.name)
    keys = list(values.order_by().values_list("execution", flat=True)[: MOST_RARE + 1])
    if len(keys) > MOST_RARE:
        return Q(Exists(values.filter(execution=OuterRef("pk"))))
    if not keys:
        _require_declared(pipelines, condition.name)
    return Q(pk__in=keys)


# Returns the newest executions with a value, and the names of its field: of each pipeline of the tenants and each field
# of it, which the index by pipeline and name has one after the other. `kind` is the column that is compared.
_WITH_VALUE: Final = """
WITH RECURSIVE field (pipeline_id, name) AS (
    SELECT p.id, (SELECT min(v.name) FROM executions_searchvalue v
        WHERE v.pipeline_id = p.id AND v.{kind} IS NOT NULL)
    FROM releases_pipeline p WHERE p.tenant_id = ANY(%(tenants)s)
    UNION ALL
    SELECT f.pipeline_id, (SELECT min(v.name) FROM executions_searchvalue v
        WHERE v.pipeline_id = f.pipeline_id AND v.name > f.name AND v.{kind} IS NOT NULL)
    FROM field f WHERE f.name IS NOT NULL
)
SELECT v.execution_id, f.name FROM field f CROSS JOIN LATERAL (
    SELECT execution_id FROM executions_searchvalue v
    WHERE v.pipeline_id = f.pipeline_id AND v.name = f.name AND v.{kind} = %({kind})s
    ORDER BY execution_id DESC LIMIT %(most)s
) v
"""


def with_value(tenant_ids: Sequence[int], text: str, most: int) -> dict[uuid.UUID, str]:
    """Return the newest executions of the tenants with a value that `text` names, and the name of its field.

    The value equals `text` as a text, number or time. Makes one query. Returns at most `most` executions.
    """
    values = {kind.value: value for kind in Kind if (value := read(kind, text))}
    query = " UNION ALL ".join(f"({_WITH_VALUE.format(kind=kind)})" for kind in values)
    with connection.cursor() as cursor:
        cursor.execute(f"{query} ORDER BY 1 DESC LIMIT %(most)s", {**values, "tenants": list(tenant_ids), "most": most})
        return dict(cursor.fetchall())


def _compared(condition: ValueCondition) -> Q:
    compared = Q()
    if condition.equal is not None:
        read_as = {kind: read(kind, condition.equal) for kind in Kind}
        same = [Q(**{kind.value: value}) for kind, value in read_as.items() if value]
        for field in same:
            compared |= field
    for end, text in (("from", condition.start), ("to", condition.end)):
        if text is not None and (bound := _bound(text)) is not None:
            kind, value = bound
            compared &= Q(**{f"{kind.value}__{_ENDS[end]}": value})
    return compared


def _require_declared(pipelines: Collection[int], name: str) -> None:
    releases = Release.objects.filter(pipeline__in=pipelines)
    if not releases.filter(declarations__search__has_key=name).exists():
        _refuse(
            [_error(f"{PREFIX}{name}", "UNKNOWN", "is declared by no release: see the option `search` of pipelines")]
        )


def add_values(rows: Collection[Execution]) -> None:
    """Set `found_values` of each: the texts of its values that can be searched, by name."""
    values = SearchValue.objects.filter(execution__in=[row.pk for row in rows]).order_by() if rows else ()
    by_execution: dict[Any, dict[str, str]] = {}
    for value in values:
        by_execution.setdefault(value.execution_id, {})[value.name] = value.shown
    for row in rows:
        row.found_values = by_execution.get(row.pk, {})  # type: ignore[attr-defined]  # no column
