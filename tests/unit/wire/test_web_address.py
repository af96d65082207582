import re

import pytest

from tests.cases import cases
from tests.hostile_values import NO_IDENTIFIERS
from tests.raising import error_of
from tests.words import words
from wire import addresses
from wire.identity import PATTERN, SEGMENT_PATTERN, is_identifier, is_segment


@cases("url", ["HTTP://A", "https://a.example:8443/b?c=d", "http://[::1]:80/", "https://a.example./"])
def test_urls_with_a_host_are_web_addresses(url: str) -> None:
    assert addresses.is_web_address(url)
    assert addresses.split_url(url).geturl().lower() == url.lower()


PROBLEMS = {
    "too long": ["https://a.example/" + "x" * 2000],
    "not allowed in a URL": ["https://exämple.org/", "https://a.example\\@b.example/", "https://a.example/\r\nHost: b"],
    "malformed": ["https://[a", "https://a.example:99999/"],
    "neither http nor https": ["ftp://a.example/", "a.example"],
    "credentials": ["https://eva:secret@a.example/", "https://@a.example/"],
    "fragment": ["https://a.example/#"],
    "no host": ["https:///a", "https://.../", "https://a.example:0/"],
}


@cases(("url", "problem"), [(url, problem) for problem, urls in PROBLEMS.items() for url in urls])
def test_other_urls_are_rejected_with_the_broken_rule(url: str, problem: str) -> None:
    assert not addresses.is_web_address(url)
    says = str(error_of(ValueError, addresses.split_url, url))
    assert problem in says
    assert url not in says
    assert "secret" not in says


def test_the_parts_of_a_url_that_names_sentinels() -> None:
    url = "sentinels://worker-acme:p%40ss@one.example:26380,two,[::1]:5/broker.main/3"
    hosts = ("one.example", 26380), ("two", 26379), ("::1", 5)
    sentinels = addresses.SentinelUrl(hosts=hosts, name="broker.main", database=3, user="worker-acme", password="p@ss")
    assert addresses.parse_sentinel(url) == sentinels
    assert addresses.kombu_url(url) == (
        "sentinel://worker-acme:p%40ss@one.example:26380/3;sentinel://worker-acme:p%40ss@two:26379/3"
        ";sentinel://worker-acme:p%40ss@[::1]:5/3"
    )
    assert addresses.is_sentinel(url)
    assert addresses.uses_tls(url)


def test_sentinels_get_the_options_of_tls_and_no_password() -> None:
    plain, secure = (f"{scheme}://user:password@h/broker/0" for scheme in ("sentinel", "sentinels"))
    options = addresses.transport_options(plain, addresses.tls_options(plain))
    assert options == {"master_name": "broker", "sentinel_kwargs": {}}
    tls = addresses.tls_options(secure, "/ca.pem")
    assert tls["ssl_check_hostname"]
    assert addresses.transport_options(secure, tls)["sentinel_kwargs"] == {"ssl": True, **tls}


@cases(
    "url",
    [
        *words(
            """
            redis://h/name/0 sentinel://h/0 sentinel://h/name/x sentinel://h,/name/0 sentinel://h:0/name/0
            sentinel://h/name/0?a=b sentinel://h;sentinel://h/name/0
            """
        ),
        "sentinel://h/name/0\n",
    ],
)
def test_other_urls_are_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a sentinel://user:password@host:port,host:port/name/number"):
        addresses.parse_sentinel(url)


GOOD = ("1.0", "sha256:abc", "Validate <Order>", "...", ".hidden", "été", "日本語", "\N{GRINNING FACE}", "x" * 5000)
INVISIBLE = [*"\0\t\n\x1f\x7f\x85\xa0\xad\u200e\u2028\u2066\ufe0f\ufeff\ud800"]
AMBIGUOUS = [" a", "a ", " ", "\u00a0a", "a\u00a0", *NO_IDENTIFIERS.values()]


@cases(
    ("text", "identifies", "is_part"),
    [
        *((text, True, True) for text in GOOD),
        ("a/b", True, False),
        *((text, False, False) for text in AMBIGUOUS),
        *((text, False, False) for char in INVISIBLE for text in (char, f"a{char}", f"a{char}b", f"{char}b")),
    ],
)
def test_visible_text_is_an_identifier_and_without_a_slash_a_segment(
    text: str, identifies: bool, is_part: bool
) -> None:
    assert (is_identifier(text), is_segment(text)) == (identifies, is_part)
    patterns = [pattern for pattern, fits in ((PATTERN, identifies), (SEGMENT_PATTERN, is_part)) if fits]
    assert all(re.search(pattern, text) for pattern in patterns)
