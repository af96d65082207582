"""Values that break code that does not expect them."""

NO_IDENTIFIERS = {
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
    "not composed": "e\u0301",
}
TEXTS = {
    **NO_IDENTIFIERS,
    "a way out": "../../etc",
    "a percent sign": "%2e%2e%00",
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
