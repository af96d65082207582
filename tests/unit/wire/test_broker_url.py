"""URLs of brokers that name Sentinels."""

import pytest

from tests.cases import cases
from wire.broker.sentinel import transport_options
from wire.broker.tls import tls_options
from wire.broker_url import SentinelUrl, is_sentinel, kombu_url, parse_sentinel, uses_tls, with_credentials

TIMEOUTS = {"socket_timeout": 10.0}


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


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h:1/0", "redis://user:secret@h:1/0"),
        ("rediss://other:p%40ss@[::1]:1/0", "rediss://user:secret@[::1]:1/0"),
        ("sentinels://:p@one,[::1]:5/broker/3", "sentinels://user:secret@one,[::1]:5/broker/3"),
    ],
)
def test_other_credentials(url: str, expected: str) -> None:
    assert with_credentials(url, "user:secret") == expected


def test_sentinels_get_the_options_of_tls_and_no_password() -> None:
    plain = "sentinel://user:password@h/broker/0"
    assert transport_options(plain, tls_options(plain), **TIMEOUTS) == {
        "master_name": "broker",
        "sentinel_kwargs": TIMEOUTS,
    }
    secure = "sentinels://user:password@h/broker/0"
    tls = tls_options(secure, "/ca.pem")
    assert tls["ssl_check_hostname"]
    assert transport_options(secure, tls, **TIMEOUTS)["sentinel_kwargs"] == {**TIMEOUTS, "ssl": True, **tls}
