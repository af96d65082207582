"""URLs of brokers that name Sentinels."""

import pytest

from tests.cases import cases
from wire.broker_url import SentinelUrl, is_sentinel, kombu_url, parse_sentinel, uses_tls


def test_the_parts_of_a_url_that_names_sentinels() -> None:
    url = "sentinels://worker-acme:p%40ss@one.example:26380,two,[::1]:5/broker.main/3"
    assert parse_sentinel(url) == SentinelUrl(
        hosts=(("one.example", 26380), ("two", 26379), ("::1", 5)),
        name="broker.main",
        database=3,
        user="worker-acme",
        password="p@ss",
        with_tls=True,
    )
    assert kombu_url(url) == (
        "sentinel://worker-acme:p%40ss@one.example:26380/3;sentinel://worker-acme:p%40ss@two:26379/3"
        ";sentinel://worker-acme:p%40ss@[::1]:5/3"
    )
    assert is_sentinel(url)
    assert uses_tls(url)


@cases(
    "url",
    [
        *("redis://h/name/0", "sentinel://h/0", "sentinel://h/name/x", "sentinel://h,/name/0", "sentinel://h:0/name/0"),
        *("sentinel://h/name/0?a=b", "sentinel://h;sentinel://h/name/0", "sentinel://h/name/0\n"),
    ],
)
def test_other_urls_are_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a sentinel://user:password@host:port,host:port/name/number"):
        parse_sentinel(url)
