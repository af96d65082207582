"""The addresses of pages, for what leaves the installation. Pure: a control worker does not load the pages."""

from urllib.parse import urlencode

from django.db.models import Model


def page_of(model: type[Model], key: object = None, **query: str) -> str:
    """Return the path of the page of the row with this key, or without one of the list of the rows that match."""
    rows = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
    if key is not None:
        return f"{rows}{key}/change/"
    return f"{rows}?{urlencode(query)}" if query else rows
