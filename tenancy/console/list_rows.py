"""The table of a list. It looks like unfold's, which computes the headings and the address of each row's link again."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from django.core.exceptions import FieldDoesNotExist
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString
from unfold.templatetags.unfold_list import LINK_CLASSES, ROW_CLASSES, result_headers
from unfold.utils import display_for_field, display_for_value

Read = Callable[[Any], Any]


class _Column(NamedTuple):
    """The tags around each of its cells, whether they link to the page of the row, and how to read what they show."""

    begin: SafeString
    end: SafeString
    links: bool
    read: Read


def table(changelist: Any) -> dict[str, Any]:
    """Return the context of the table: its headings, and its rows as HTML."""
    headings = list(result_headers(changelist))  # type: ignore[no-untyped-call]  # unfold declares no types here
    columns = list(_columns(changelist, [heading["text"] for heading in headings]))
    # The query with which the page of a row leads back to this list.
    query = f"?{changelist.preserved_filters}" if changelist.preserved_filters else ""
    rows = (_row(changelist, columns, query, row, number) for number, row in enumerate(changelist.result_list))
    return {
        "cl": changelist,
        "result_headers": headings,
        "num_sorted_fields": sum(heading["sortable"] and heading["sorted"] for heading in headings),
        "rows": SafeString("".join(rows)),  # nosec B703 - HTML of `format_html`
    }


def _columns(changelist: Any, titles: list[Any]) -> Iterator[_Column]:
    """Yield the columns. The first one that links to the page of the row is its heading."""
    pages, linking = changelist.model_admin, changelist.list_display_links
    heads = 0
    for place, (name, title) in enumerate(zip(changelist.list_display, titles, strict=True)):
        links = linking is not None and (name in linking or (place == 0 and not linking))
        heads += links
        tag = "th" if links and heads == 1 else "td"
        label = "Select record" if place == 0 and not links else title
        field = getattr(name, "__name__", name)
        begin = format_html('<{} class="field-{} {}" data-label="{}">', tag, field, " ".join(ROW_CLASSES), label)
        yield _Column(begin, format_html("</{}>", tag), links, _reader(pages, name))


def _reader(pages: Any, name: Any) -> Read:
    """Return what shows a column of a row: a field of the model, a function, or else a method of its pages."""
    empty = pages.get_empty_value_display()
    try:
        field = pages.opts.get_field(name)
    except FieldDoesNotExist:
        method = name if callable(name) else getattr(pages, name)
        empty = getattr(method, "empty_value_display", empty)
        return lambda row: display_for_value(method(row), empty)
    if field.is_relation:
        return lambda row: display_for_value(getattr(row, name), empty)
    return lambda row: display_for_field(getattr(row, name), field, empty)


def _row(changelist: Any, columns: list[_Column], query: str, row: Any, number: int) -> SafeString:
    cells = []
    for column in columns:
        shown = conditional_escape(column.read(row))
        if column.links:
            address = changelist.url_for_result(row) + query
            shown = format_html('<a href="{}" class="{}">{}</a>', address, " ".join(LINK_CLASSES), shown)
        cells.append(f"{column.begin}{shown}{column.end}")
    return format_html(
        '<tbody class="block relative lg:table-row-group {}"><tr class="data-row block border border-base-200 mb-3 '
        'relative rounded-default lg:table-row lg:border-none lg:mb-0 lg:rounded-none dark:border-base-800">{}</tr>'
        "</tbody>",
        "bg-base-50 dark:bg-white/[.02]" if number % 2 else "",
        SafeString("".join(cells)),  # nosec B703 - each value is escaped
    )
