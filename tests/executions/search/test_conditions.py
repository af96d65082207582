"""The conditions of a search are read from query parameters, and each wrong one is named."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from executions.search.conditions import PARAMETERS, Search, parse
from foundation.errors import InvalidRequest
from tests.cases import cases

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
LONG = "x" * 1501
GROUP = uuid.UUID(int=17)


def test_each_parameter_is_a_condition() -> None:
    texts = {
        **{"q": " ab ", "status": "live", "pipeline": "p", "release": "1", "error": "E", "step": "2", "since": "2h"},
        **{"until": "2026-01-31T11:00:00Z", "ended": "15 m", "tag": "k=v", "smoke": "no", "by": "me", "tenant": "acme"},
        **{"stranded": "yes", "group": str(GROUP)},
    }
    assert texts.keys() == PARAMETERS.keys()
    assert parse(texts, now=NOW) == Search(
        text="ab",
        status="live",
        pipeline_id="p",
        release_version="1",
        error_code="E",
        step=1,
        since=NOW - timedelta(hours=2),
        until=NOW - timedelta(hours=1),
        ended_since=NOW - timedelta(minutes=15),
        tag="k=v",
        smoke=False,
        submitted_by="me",
        stranded=True,
        failure_group=GROUP,
        tenant="acme",
    )


@cases(
    ("name", "text"),
    [
        *(("since", text) for text in ("x", "2026-02-30 10:00", "9999999d", "-1h")),
        *(("step", text) for text in ("0", "x", "99999")),
        *((name, "x") for name in ("group", "smoke", "status", "nonsense", "input__n")),
        *((name, LONG) for name in ("q", "pipeline", "release", "error", "tag", "by", "tenant", "group")),
        *((name, "a\0b") for name in ("q", "pipeline", "release", "error", "tag", "by", "tenant", "group")),
    ],
)
def test_a_wrong_parameter_is_named(name: str, text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse({"status": "live", name: text}, now=NOW)
    assert [error["field"] for error in caught.value.errors] == [name]
