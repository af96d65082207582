import re
from typing import Any

from django.test import Client
from django.urls import reverse

from releases.models import Activation, Release

MARKUP = "<img src=x onerror=alert(1)>"
INERT = "&lt;img src=x"


def to(name: str, *rows: Any) -> str:
    """Return the address of a page. `rows` are its arguments; a row of the database is its key."""
    return reverse(f"admin:{name}", args=[getattr(row, "pk", row) for row in rows])


def said(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def words(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.text))


def listed(client: Client, model: str, query: Any = "") -> list[Any]:
    """Return the rows of a list. `query` is text or a dictionary."""
    address = to(f"{model}_changelist")
    response = client.get(f"{address}?{query}") if isinstance(query, str) else client.get(address, query)
    assert response.status_code == 200, response.status_code
    return list(response.context["cl"].result_list)


def history(release: Release) -> list[Activation]:
    return list(Activation.objects.filter(pipeline=release.pipeline).order_by("sequence"))


def exported(client: Client, model: str, form: str, query: str = "") -> str:
    """Return the streamed export of a list, in the form `csv` or `ndjson`."""
    response: Any = client.get(f"{to(f'{model}_export', form)}?{query}")
    assert response.status_code == 200
    return b"".join(response).decode()


def at(client: Client, address: str) -> list[Any]:
    """Return the rows of the list to which a link of a page leads."""
    response = client.get(address.replace("&amp;", "&"))
    assert response.status_code == 200, address
    return list(response.context["cl"].result_list)


def inert(response: Any) -> None:
    assert response.status_code < 500
    assert MARKUP not in response.text
    assert INERT in response.text
