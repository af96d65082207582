"""Which URLs are web addresses."""

import pytest

from tests.cases import cases
from wire.web_address import is_web_address, split


@cases(
    "url",
    [
        "http://a",
        "https://a.example:8443/b?c=d",
        "http://127.0.0.1/",
        "http://[::1]:80/",
        "https://a.example./",
        "HTTP://A",
    ],
)
def test_urls_with_a_host_are_web_addresses(url: str) -> None:
    assert is_web_address(url)
    assert split(url).geturl().lower() == url.lower()


@cases(
    ("url", "problem"),
    [
        ("https://a.example/" + "x" * 2000, "too long"),
        ("https://exämple.org/", "not allowed in a URL"),
        ("https://a.example/ b", "not allowed in a URL"),
        ("https://a.example\\@b.example/", "not allowed in a URL"),
        ("https://a.example/\r\nHost: b", "not allowed in a URL"),
        ("https://[a", "malformed"),
        ("https://a.example:99999/", "malformed"),
        ("ftp://a.example/", "neither http nor https"),
        ("a.example", "neither http nor https"),
        ("https://eva:secret@a.example/", "credentials"),
        ("https://@a.example/", "credentials"),
        ("https://a.example/#", "fragment"),
        ("https:///a", "no host"),
        ("https://.../", "no host"),
        ("https://a.example:0/", "no host"),
    ],
)
def test_other_urls_are_rejected_with_the_broken_rule(url: str, problem: str) -> None:
    assert not is_web_address(url)
    with pytest.raises(ValueError, match=problem) as caught:
        split(url)
    assert url not in str(caught.value)
    assert "secret" not in str(caught.value)
