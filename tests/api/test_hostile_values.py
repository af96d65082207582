"""No value in a body, an address or a query makes an endpoint fail. Each response is readable JSON."""

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.populated import populate
from tests.api.tenant_api import TenantApi, upload
from tests.api.test_every_endpoint import BODIES, EVERY, LISTS
from tests.hostile_values import CURSOR_POSITIONS, NUMBERS, TEXTS, headers

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(600)]
IDENTIFYING = {
    ("POST", "executions"): ("pipelineId", "idempotencyKey", "expectedReleaseVersion"),
    ("POST", "pipelines/{pipeline_id}/activations"): ("releaseVersion", "expectedReleaseVersion", "operationKey"),
    ("POST", "pipelines/{pipeline_id}/revocations"): ("releaseVersion",),
    ("POST", "pipelines/{pipeline_id}/retirements"): ("releaseVersion",),
    ("POST", "trusted-keys"): ("name",),
    ("POST", "campaigns"): ("filters.pipelineId", "filters.contractVersion", "filters.releaseVersion"),
    ("POST", "workers"): (
        *("pipelineId", "contractVersion", "releaseVersion", "workerId", "artifactId", "artifactDigest"),
    ),
    ("POST", "interactions/complete"): ("correlationId",),
    ("POST", "/api/v1/resume"): ("actor",),
}
"""The members that are identifiers, by endpoint."""
MALFORMED_IDENTIFIERS = (
    "a leading blank",
    "a newline",
    "a control character",
    "a bidirectional override",
    "an invisible character",
    "a filler",
    "a noncharacter",
    "one dot",
    "two dots",
    "not composed",
)


NUMERALS = [str(number) for number in (0, -1, 0.5, 2**31, 2**63, 10**400)]
SOME = [TEXTS[name] for name in ("U+0000", "a far date", "a large number")]
"""Values for a part of a request whose other occurrences, which share its code, are tried with all of them."""


class Sweep:
    """A tenant with rows of every kind, and requests to it whose responses must be readable JSON."""

    def __init__(self, ours: TenantApi) -> None:
        self.ours = ours
        self.names = {name: values[-1] for name, values in populate(ours).items()}

    def url(self, path: str, **changes: str) -> str:
        names = {name: quote(value, safe="") for name, value in {**self.names, **changes}.items()}
        return path if path.startswith("/") else self.ours.url("") + path.format(**names)

    def call(self, method: str, url: str, body: Any = None, **more: Any) -> Any:
        response = self.ours.call(method, url, body, **more)
        assert response.status_code < 500, (method, url, body, more, response.content)
        json.loads(response.content, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
        return response


@pytest.fixture
def here(ours: TenantApi) -> Sweep:
    return Sweep(ours)


def members(body: dict[str, Any], prefix: str = "") -> list[str]:
    """The names of all members, including those of nested objects."""
    found = []
    for name, value in body.items():
        found += [f"{prefix}{name}"]
        inner = value[0] if isinstance(value, list) else value
        found += members(inner, f"{prefix}{name}.") if isinstance(inner, dict) else []
    return found


def changed(body: dict[str, Any], member: str, value: Any) -> dict[str, Any]:
    name, _, rest = member.partition(".")
    if not rest:
        return {**body, name: value}
    inner = body.get(name, {})
    return {**body, name: [changed(inner[0], rest, value)] if isinstance(inner, list) else changed(inner, rest, value)}


def test_no_member_value_makes_an_endpoint_fail(here: Sweep, subtests: pytest.Subtests) -> None:
    every = [*(text for text in TEXTS.values() if "\x00" not in text), *NUMBERS, [], {}, None, [[1]], {"a": {"b": 1}}]
    tried = set[str]()
    for (method, path), body in BODIES.items():
        for member in sorted({*members(body), *IDENTIFYING.get((method, path), ())}):
            values = [*SOME[1:], 2**63, [], {"a": {"b": 1}}] if member in tried else every
            tried.add(member)
            with subtests.test(f"{method} {path}", member=member):
                for value in values:
                    here.call(method, here.url(path), changed(body, member, value))


def test_malformed_identifiers_are_rejected(here: Sweep, subtests: pytest.Subtests) -> None:
    for (method, path), names in IDENTIFYING.items():
        for member in names:
            with subtests.test(f"{method} {path}", member=member):
                for text in MALFORMED_IDENTIFIERS:
                    response = here.call(method, here.url(path), changed(BODIES[method, path], member, TEXTS[text]))
                    assert response.status_code == 400, (text, response.content)
                    [error] = response.json()["errors"]
                    assert (error["field"], error["code"]) in {
                        (member, "NOT_IDENTIFIER"),
                        (member, "KEY"),
                    }, (text, error)


def test_no_value_in_a_url_makes_an_endpoint_fail(here: Sweep, subtests: pytest.Subtests) -> None:
    tried = set[tuple[str, str]]()
    for method, path in EVERY:
        for name in here.names:
            if f"{{{name}}}" in path:
                texts = SOME if (method, name) in tried else list(TEXTS.values())
                tried.add((method, name))
                with subtests.test(f"{method} {path}", name=name):
                    for text in texts:
                        url = here.url(path, **{name: text or " "})
                        here.call(method, url, BODIES.get((method, path)))


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_header_or_cookie_makes_an_endpoint_fail(here: Sweep, settings: Any, method: str) -> None:
    cookies = (settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME, "messages")
    body = BODIES["POST", "executions"] if method == "POST" else None
    for sent in headers(*cookies):
        for url in (here.url("executions"), "/api/v1/resume"):
            here.call(method, url, body, headers=sent)
        response = here.ours.call(method, "/tpf/admin/tenants/x/workers", body, headers=sent)
        assert response.status_code < 500, sent


def test_no_parameter_value_makes_a_list_fail(here: Sweep, subtests: pytest.Subtests) -> None:
    document = here.ours.call("GET", "/api/schema/?format=json").json()
    for path in LISTS:
        operation = document["paths"]["/api/v1/tenants/{tenant}/" + path]["get"]
        for name in (each["name"] for each in operation["parameters"] if each["in"] == "query"):
            # All lists share the code that reads these two.
            values = SOME if name in {"cursor", "pageSize"} and path != LISTS[0] else [*TEXTS.values(), *NUMERALS]
            with subtests.test(path, name=name):
                for text in values:
                    here.call("GET", f"{here.url(path)}?{name}={quote(text, safe='')}")


def test_no_cursor_makes_a_list_fail(here: Sweep, subtests: pytest.Subtests) -> None:
    for path in LISTS:
        with subtests.test(path):
            for position in CURSOR_POSITIONS:
                for query in (f"p={quote(position)}", f"p={quote(position)}&r=1", f"o={quote(position)}"):
                    cursor = quote(base64.b64encode(query.encode()).decode(), safe="")
                    here.call("GET", f"{here.url(path)}?cursor={cursor}")


@pytest.mark.parametrize("text", MALFORMED_IDENTIFIERS)
def test_a_descriptor_with_a_malformed_identifier_is_rejected(here: Sweep, text: str) -> None:
    """It is refused before anything is stored, so no response ever contains it."""
    for member in ("pipelineId", "contractVersion", "releaseVersion"):
        response = here.call(
            "POST", here.url("pipelines/{pipeline_id}/releases"), upload("9.9", **{member: TEXTS[text]})
        )
        assert response.status_code == 400, response.content
        assert "IDENTITY_MALFORMED" in {error["code"] for error in response.json()["errors"]}
