"""A signed HTTP request is accepted only if no signed part was changed (wire protocol D.3, D.4)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cases import cases
from wire.messages.rest_messages import CAPABILITIES_PATH, EXECUTE_PATH
from wire.messages.signed_requests import NONCE, SIGNATURE, TIMESTAMP, Refused, check_signature, signed_headers

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TOLERANCE = timedelta(minutes=2)
BODY = b'{"a": 1}'
HEADERS = signed_headers("secret", "POST", EXECUTE_PATH, BODY, now=NOW)
SIGNED = HEADERS[SIGNATURE]


def checked(**changes: Any) -> tuple[str, datetime]:
    parts: dict[str, Any] = {"secret": "secret", "method": "POST", "path": EXECUTE_PATH, "headers": HEADERS}
    return check_signature(**{**parts, "body": BODY, "now": NOW, "tolerance": TOLERANCE, **changes})


def test_an_unchanged_signed_request_is_accepted() -> None:
    assert checked() == (HEADERS[NONCE], NOW)


def with_header(name: str, value: str) -> dict[str, Any]:
    return {"headers": {**HEADERS, name: value}}


@cases(
    "changes",
    [
        {"secret": "Secret"},
        {"method": "GET"},
        *({"path": path} for path in (CAPABILITIES_PATH, EXECUTE_PATH + "/")),
        *({"body": body} for body in (BODY + b" ", BODY.replace(b"1", b"2"), b"")),
        with_header(NONCE, HEADERS[NONCE][:-1]),
        with_header(TIMESTAMP, HEADERS[TIMESTAMP].replace("05.000Z", "05.001Z")),
        with_header(TIMESTAMP, HEADERS[TIMESTAMP].replace("Z", "+00:00")),
        *(with_header(SIGNATURE, wrong) for wrong in (SIGNED[:-1], SIGNED[:8], SIGNED.upper(), SIGNED + "0", "é")),
        # Text cannot move between signed parts.
        {"path": EXECUTE_PATH + "\n" + HEADERS[TIMESTAMP], **with_header(NONCE, HEADERS[NONCE] + "\n")},
    ],
)
def test_a_request_with_another_signed_part_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="signature is wrong"):
        checked(**changes)


@cases("name", [TIMESTAMP, NONCE, SIGNATURE])
@cases("value", [None, "", " "])
def test_a_request_without_one_of_its_headers_is_refused(name: str, value: str | None) -> None:
    headers = {key: each for key, each in HEADERS.items() if key != name} | ({} if value is None else {name: value})
    with pytest.raises(Refused, match="header is missing"):
        checked(headers=headers)


@cases("offset", [TOLERANCE, -TOLERANCE])
def test_a_request_within_the_tolerance_is_accepted(offset: timedelta) -> None:
    assert checked(now=NOW + offset)[1] == NOW
    with pytest.raises(Refused, match="too far from the present"):
        checked(now=NOW + offset * 1.001)
