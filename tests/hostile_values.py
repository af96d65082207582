"""Values that break code that does not expect them."""

from collections.abc import Iterator

TEXTS = {
    "nothing": "",
    "blanks": "  ",
    "a leading blank": " a",
    "a newline": "1.0\n2.0",
    "U+0000": "a\x00b",
    "a control character": "a\x1b[31mb",
    "a bidirectional override": "a\u202eb",
    "an invisible character": "a\u200bb",
    "a filler": "\u3164",
    "a noncharacter": "a\uffffb",
    "one dot": ".",
    "two dots": "..",
    "a way out": "../../etc",
    "a percent sign": "%2e%2e%00",
    "not composed": "e\u0301",
    "many characters": "x" * 5000,
    "beyond the first plane": "\U0001f600",
    "a large number": "9" * 400,
    "a large exponent": "1e9999999",
    "no number": "NaN",
    "a far date": "9999-12-31T23:59:59.999999-23:59",
    "an early date": "0001-01-01T00:00:00+23:59",
    "quotes": "'\"`;--",
    "a template": "{{ 7*7 }}${7}%s{0}",
}
NUMBERS = (0, -1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, 1e308, -1e-308)
# The headers that the product or its frameworks read, except those that delimit a message.
HEADERS = (
    *("Host", "Accept", "Authorization", "Idempotency-Key", "X-Forwarded-For", "X-Forwarded-Proto", "Content-Type"),
    *("Accept-Language", "Accept-Encoding", "Referer", "Origin", "If-Modified-Since", "If-None-Match", "Range"),
    *("User-Agent", "HX-Request", "X-CSRFToken", "X-Requested-With"),
)


def headers(*cookies: str) -> Iterator[dict[str, str]]:
    """Yield headers with each of these texts in each header and each of `cookies`, as a WSGI server passes them on.

    Servers reject control characters in a header. A cookie can contain them in the escaped form that Django decodes.
    """
    for text in TEXTS.values():
        for cookie in cookies:
            escaped = "".join(f"\\{byte:03o}" for byte in text.encode())
            yield {"Cookie": f'{cookie}="{escaped}{"a" * 20}"'}
        if all(character >= " " for character in text):
            for name in HEADERS:
                yield {name: text.encode().decode("latin-1")}
