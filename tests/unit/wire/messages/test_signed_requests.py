"""A signed HTTP request is accepted only if no signed part was changed (wire protocol D.3, D.4)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cases import cases
from wire.messages.rest_messages import (
    CAPABILITIES_PATH,
    EXECUTE_PATH,
    NONCE,
    SIGNATURE,
    TIMESTAMP,
    Refused,
    check_signature,
    signed_headers,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TOLERANCE = timedelta(minutes=2)
BODY = b'{"a": 1}'
HEADERS = signed_headers("secret", "POST", EXECUTE_PATH, BODY, now=NOW)


def checked(headers: dict[str, str] = HEADERS, **changes: Any) -> tuple[str, datetime]:
    parts: dict[str, Any] = {
        "secret": "secret",
        "method": "POST",
        "path": EXECUTE_PATH,
        "body": BODY,
        "now": NOW,
        "tolerance": TOLERANCE,
    }
    return check_signature(headers=headers, **(parts | changes))


def test_an_unchanged_signed_request_is_accepted() -> None:
    assert checked() == (HEADERS[NONCE], NOW)


@cases(
    "changes",
    [
        {"secret": "Secret"},
        {"secret": "secret "},
        {"method": "GET"},
        {"method": "PUT"},
        {"path": CAPABILITIES_PATH},
        {"path": EXECUTE_PATH + "/"},
        {"path": "/base" + EXECUTE_PATH},
        {"body": BODY + b" "},
        {"body": b" " + BODY},
        {"body": BODY.replace(b"1", b"2")},
        {"body": b""},
    ],
)
def test_another_secret_method_path_or_body_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="signature is wrong"):
        checked(**changes)


@cases(
    "changes",
    [
        {NONCE: HEADERS[NONCE][:-1]},
        {NONCE: HEADERS[NONCE].upper() + "0"},
        {TIMESTAMP: HEADERS[TIMESTAMP].replace("05.000Z", "05.001Z")},
        {TIMESTAMP: HEADERS[TIMESTAMP].replace("Z", "+00:00")},
        {SIGNATURE: HEADERS[SIGNATURE][:-1]},
        {SIGNATURE: HEADERS[SIGNATURE][:8]},
        {SIGNATURE: HEADERS[SIGNATURE].upper()},
        {SIGNATURE: HEADERS[SIGNATURE] + "0"},
    ],
)
def test_another_nonce_time_or_signature_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(Refused, match="signature is wrong"):
        checked({**HEADERS, **changes})


@cases("place", range(0, 64, 7))
def test_every_digit_of_the_signature_counts(place: int) -> None:
    text = HEADERS[SIGNATURE]
    digit = "0" if text[place] != "0" else "1"
    with pytest.raises(Refused, match="signature is wrong"):
        checked({**HEADERS, SIGNATURE: text[:place] + digit + text[place + 1 :]})


@cases("name", [TIMESTAMP, NONCE, SIGNATURE])
@cases("value", [None, "", " "])
def test_a_request_without_one_of_its_headers_is_refused(name: str, value: str | None) -> None:
    headers = {key: each for key, each in HEADERS.items() if key != name} | ({} if value is None else {name: value})
    with pytest.raises(Refused, match="header is missing"):
        checked(headers)


@cases("offset", [TOLERANCE, -TOLERANCE, timedelta()])
def test_a_request_within_the_tolerance_is_accepted(offset: timedelta) -> None:
    assert checked(now=NOW + offset)[1] == NOW


@cases("offset", [TOLERANCE, -TOLERANCE])
def test_a_request_beyond_the_tolerance_is_refused_on_either_side(offset: timedelta) -> None:
    beyond = offset * 1.001
    with pytest.raises(Refused, match="too far from the present"):
        checked(now=NOW + beyond)


def test_text_cannot_move_between_signed_parts() -> None:
    """Moving a line from the path to the time, or from the time to the nonce, invalidates the signature."""
    for path, nonce in ((EXECUTE_PATH + "\n" + HEADERS[TIMESTAMP], ""), (EXECUTE_PATH, "\n" + HEADERS[NONCE])):
        with pytest.raises(Refused):
            checked({**HEADERS, NONCE: nonce}, path=path)
