"""Querysets whose SQL is written once, for the few that run many times a second.

Django writes the SQL of a queryset each time, which takes ten times as long as the database needs for a row. Here it is
written at the first use. Then only the values of its parameters change. The database prepares it too.
"""

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import Model, QuerySet
from django.db.models.query import get_related_populators

from foundation.database import prepared

Row = TypeVar("Row", bound=Model)


class Compiled(Generic[Row]):
    """A queryset of rows with named parameters: `Compiled(lambda name: Tag.objects.filter(name=name), name="?")`.

    Each parameter has an example, which nothing else in the SQL equals. `select_related`, `annotate` and slices work as
    in any queryset. `prefetch_related` does not.
    """

    def __init__(self, queryset: Callable[..., QuerySet[Row]], **examples: Any) -> None:
        self._queryset = queryset
        self._examples = examples

    def rows(self, **values: Any) -> list[Row]:
        """Run the query with these values of all parameters."""
        sql, params, read = self._compiled
        connection.close_if_health_check_failed()  # as Django does for each of its cursors
        given = {place: values[name] if name else param for place, (name, param) in params.items()}
        return [read(row) for row in prepared.rows(sql, given)]

    def first(self, **values: Any) -> Row | None:
        return next(iter(self.rows(**values)), None)

    @cached_property
    def _compiled(self) -> tuple[str, dict[str, tuple[str, Any]], Callable[[Iterable[Any]], Row]]:
        """Return the SQL, its parameters, and a function that makes a row of the model.

        The key of a parameter is its name in the SQL. Its value has the name for callers, or "", and the example.
        """
        compiler: Any = self._queryset(**self._examples).query.get_compiler(DEFAULT_DB_ALIAS)
        sql, params = compiler.as_sql()
        names = {(type(example), repr(example)): name for name, example in self._examples.items()}
        named = {f"p{place}": (names.get((type(param), repr(param)), ""), param) for place, param in enumerate(params)}
        if missing := self._examples.keys() - {name for name, _ in named.values()}:
            raise ValueError(f"The SQL does not contain the parameters {sorted(missing)}.")
        return sql % tuple(f"%({place})s" for place in named), named, _reader(compiler)


def _reader(compiler: Any) -> Callable[[Iterable[Any]], Any]:
    """Return what makes a row of the model, as Django's `ModelIterable` does for each query."""
    select, described, annotations = compiler.select, compiler.klass_info, compiler.annotation_col_map or {}
    columns = slice(described["select_fields"][0], described["select_fields"][-1] + 1)
    names = [column.target.attname for column, *_ in select[columns]]
    related = get_related_populators(described, select, DEFAULT_DB_ALIAS)  # type: ignore[call-arg]  # of Django 6.1
    converters = compiler.get_converters([column for column, *_ in select])

    def read(row: Iterable[Any]) -> Any:
        values = list(row)
        for place, (converts, expression) in converters.items():
            for convert in converts:
                values[place] = convert(values[place], expression, connection)
        made = described["model"].from_db(DEFAULT_DB_ALIAS, names, values[columns])
        for description in related:
            description.populate(values, made)
        for name, place in annotations.items():
            setattr(made, name, values[place])
        return made

    return read
