"""Which URLs are web addresses."""

import pytest

from tests.cases import cases
from wire.web_address import is_web_address, split


@cases("url", ["HTTP://A", "https://a.example:8443/b?c=d", "http://[::1]:80/", "https://a.example./"])
def test_urls_with_a_host_are_web_addresses(url: str) -> None:
    assert is_web_address(url)
    assert split(url).geturl().lower() == url.lower()


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
    assert not is_web_address(url)
    with pytest.raises(ValueError, match=problem) as caught:
        split(url)
    assert url not in str(caught.value)
    assert "secret" not in str(caught.value)
