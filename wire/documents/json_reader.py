"""Reads JSON from outside: documents strictly, within limits and with all findings, and texts of values from workers.

`scan` parses bytes to one JSON object, or returns findings. `wire.documents.shape` then validates the object with a
model. A `Dialect` provides the document's name, codes and wording to both. `storable` reads a value.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, islice
from typing import Any, Final

from wire.findings import DocumentError, Finding

MAX_DEPTH = 64
"""How many levels objects and arrays may nest. The top-level object is level 1."""
MAX_VALUES = 100_000
"""How many JSON values one document may contain."""
MAX_FINDINGS = 500
"""How many findings one document gets. Another one says that there are more."""

LONGEST_OUTCOME: Final = 16 * 1024**2
"""One outcome, or one checkpoint, as JSON, in characters."""
MOST_PAYLOADS: Final = 400_000
"""The number of outputs in one outcome or checkpoint, or of requests in one await."""
MOST_VALUES: Final = 1_000_000
"""How many JSON values all outputs together may contain."""
DEEPEST: Final = 200
"""How many levels one output may nest. Pydantic reads no deeper JSON."""

LIMITS: Final = {
    "characters as JSON": LONGEST_OUTCOME,
    "items": MOST_PAYLOADS,
    "JSON values in all items": MOST_VALUES,
    "levels of objects and arrays in an item": DEEPEST,
}
"""All limits of the values that steps take and return, by what they count. Workers check them before they send."""

_SHOWN_CHARACTERS = 200
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_PLAIN_MEMBER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")
_BOM = b"\xef\xbb\xbf"
_STRUCTURE = bytes(byte if byte in b'",:[]{}' else ord("x") for byte in range(256))
_COUNTED_AT_ONCE = 64 * 1024

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Dialect:
    """The wording of findings about one kind of document.

    Every field path begins with `name`, every code about the shape with `code` (`CONTRACT_WRONG_TYPE`), and every
    message with `preamble`, except for the codes in `verbatim`.
    """

    name: str
    code: str
    preamble: str
    verbatim: frozenset[str] = frozenset()

    def finding(self, code: str, path: Path, message: str) -> Finding:
        """Return an error at `path` in this document's wording."""
        text = message if code in self.verbatim else self.preamble + message
        return Finding(code=code, field=field_of(self.name, path), message=text)

    def introduced(self, finding: Finding) -> Finding:
        """Return a finding of `scan` with this document's preamble."""
        return replace(finding, message=self.preamble + finding.message)


# --- names and values in findings -----------------------------------------------------------------


def shown(text: str) -> str:
    """Return `text` for a message: shortened, with escapes for characters that cannot be stored."""
    return _UNSTORABLE.sub(lambda match: f"\\u{ord(match.group()):04x}", _shortened(text))


def quoted(text: str) -> str:
    """Return `text` as a JSON string for a message: shortened, with escapes if needed."""
    short = _shortened(text)
    return json.dumps(short, ensure_ascii=_UNSTORABLE.search(short) is not None)


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def field_of(name: str, path: Path) -> str:
    """Return the field of a finding, such as `name#a.b[0]`, or `name` if the path is empty.

    Unusual member names are quoted in brackets.
    """
    text = ""
    for segment in path:
        if isinstance(segment, int):
            text += f"[{segment}]"
        elif _PLAIN_MEMBER.fullmatch(segment):
            text += f".{segment}"
        else:
            text += f"[{quoted(segment)}]"
    return f"{name}#{text.removeprefix('.')}" if path else name


def bounded(findings: Iterable[Finding], name: str) -> tuple[Finding, ...]:
    """Return at most MAX_FINDINGS findings, followed by one that says so if there are more."""
    kept = list(islice(findings, MAX_FINDINGS + 1))
    if len(kept) > MAX_FINDINGS:
        message = f"only the first {MAX_FINDINGS} findings are shown"
        kept[MAX_FINDINGS] = Finding("DOCUMENT_TOO_MANY_FINDINGS", name, message)
    return tuple(kept)


# --- counting values ------------------------------------------------------------------------------


def holds_more_values(data: bytes, most: int) -> bool:
    """Return True if JSON text contains more than `most` values. Needs little memory for any size of `data`.

    A parsed value needs up to a hundred times the memory of its text, so call this before parsing. If the text is not
    JSON, this counts at least the values before the first error.
    """
    if len(data) < most or _separators(data) < most:
        return False
    return any(count > most for count in accumulate(_values(data), initial=1))


def holds_more_members(data: bytes, most: int) -> bool:
    """Return True if all objects in JSON text together have more than `most` members. Like `holds_more_values`."""
    if len(data) <= most or data.count(b":") <= most:
        return False
    return any(count > most for count in accumulate(piece.count(b":") for piece in _structure(data)))


def count_values(data: bytes) -> int:
    """Return the number of values in JSON text. Member names are not counted."""
    return 1 + sum(_values(data))


def _values(data: bytes) -> Iterator[int]:
    """Yield the number of values in each piece of JSON text, not counting the outermost value."""
    for piece in _structure(data):
        yield _separators(piece) - piece.count(b"[]") - piece.count(b"{}")


def _structure(data: bytes) -> Iterator[bytes]:
    """Yield JSON text in pieces, with `x` in place of everything but structure. Cuts no empty array or object."""
    in_string, at, opened = 0, 0, b""
    while at < len(data):
        piece = data[at : at + _COUNTED_AT_ONCE]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:  # do not cut an escape sequence
            piece = data[at : at + _COUNTED_AT_ONCE + 1]
        at += len(piece)
        bare = piece.replace(b"\\\\", b"").replace(b'\\"', b"").translate(_STRUCTURE, delete=b" \t\r\n")
        pieces = bare.split(b'"')
        structure = opened + b"x" * in_string + b"x".join(pieces[in_string::2])
        in_string ^= (len(pieces) - 1) & 1
        opened = structure[-1:] if structure.endswith((b"[", b"{")) else b""
        yield structure.removesuffix(opened)
    yield opened


def _separators(data: bytes) -> int:
    """Count commas and opening brackets. Every value except the outermost follows one of them."""
    return data.count(b",") + data.count(b"[") + data.count(b"{")


# --- bytes to object ------------------------------------------------------------------------------


def read_object(data: bytes, *, name: str, limit: int, most_values: int = MAX_VALUES) -> dict[str, Any]:
    """Return the JSON object in `data`.

    The document must be UTF-8 without a byte order mark. It has at most `limit` bytes, MAX_DEPTH levels and
    `most_values` values. No object has a member twice, every number is finite, and no string contains U+0000 or a lone
    surrogate. Raises only DocumentError, with all findings.
    """
    document, findings = scan(data, name=name, limit=limit, most_values=most_values)
    if document is None or findings:
        raise DocumentError(findings)
    return document


def scan(
    data: bytes, *, name: str, limit: int, most_values: int = MAX_VALUES
) -> tuple[dict[str, Any] | None, tuple[Finding, ...]]:
    """Return the object and the findings about it. The object is None if it cannot be examined further.

    Use an object with findings only to look for more findings.
    """
    if len(data) > limit:
        return None, (Finding("DOCUMENT_TOO_LARGE", name, f"the document is larger than {limit} bytes"),)
    if holds_more_values(data, most_values):
        return None, (_too_many_values(name, most_values),)
    if data.startswith(_BOM):
        return None, (Finding("DOCUMENT_HAS_BOM", name, "the document starts with a byte order mark"),)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"the document is not UTF-8: byte {error.start} {error.reason}"
        return None, (Finding("DOCUMENT_NOT_UTF8", name, message),)
    parser = _Parser(name)
    try:
        value = parser.parse(text)
    except json.JSONDecodeError as error:
        message = f"malformed JSON: {error.msg}, line {error.lineno} column {error.colno}"
        return None, (Finding("DOCUMENT_NOT_JSON", name, message),)
    except RecursionError:
        return None, (_too_deep(name),)
    except ValueError:  # an integer of more digits than the interpreter converts
        message = "a number has more digits than can be read"
        return None, (Finding("DOCUMENT_NUMBER_OUT_OF_RANGE", name, message),)
    if not isinstance(value, dict):
        return None, (Finding("DOCUMENT_NOT_OBJECT", name, "the document is not a JSON object"),)
    if not parser.findings and not parser.repeated and b"\\u" not in data and _is_shallow(value):
        return value, ()  # only an escape could make a character that cannot be stored
    usable, inspected = _inspect(value, name, parser.duplicates(), most_values)
    findings = bounded([*parser.findings, *inspected], name)
    return (value if usable else None), findings


def inspect_value(document: Mapping[str, Any], name: str) -> tuple[Finding, ...]:
    """Return what `scan` finds inside an object that is already parsed: about depth, size and characters."""
    return bounded(_inspect(dict(document), name, {}, MAX_VALUES)[1], name)


@dataclass(slots=True)
class _Parser:
    """Parses like `json.loads`, and records repeated members and numbers that are not finite."""

    name: str
    findings: list[Finding] = field(default_factory=list)
    # A reference to each object, so that its id is not reused before duplicates() is called.
    repeated: list[tuple[dict[str, Any], list[str]]] = field(default_factory=list)

    def parse(self, text: str) -> Any:
        return json.loads(text, object_pairs_hook=self._object, parse_float=self._float, parse_constant=self._constant)

    def duplicates(self) -> dict[int, list[str]]:
        return {id(members): names for members, names in self.repeated}

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            times = Counter(key for key, _ in pairs)
            self.repeated.append((members, [key for key in times if times[key] > 1]))
        return members

    def _float(self, text: str) -> float:
        number = float(text)
        if not math.isfinite(number):
            self._report(text)
        return number

    def _constant(self, text: str) -> float:
        self._report(text)
        return 0.0

    def _report(self, text: str) -> None:
        if len(self.findings) <= MAX_FINDINGS:
            message = f"{shown(text)} is not a valid JSON number"
            self.findings.append(Finding("DOCUMENT_NUMBER_OUT_OF_RANGE", self.name, message))


def _is_shallow(value: Any) -> bool:
    """Return True if a value has at most MAX_DEPTH levels of objects and arrays."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for member in level:
            inner += member.values() if isinstance(member, dict) else member
        level = [member for member in inner if isinstance(member, dict | list)]
        if not level:
            return True
    return False


_Link = tuple["_Link", str | int] | None


def _inspect(
    document: dict[str, Any], name: str, duplicates: Mapping[int, list[str]], most_values: int
) -> tuple[bool, list[Finding]]:
    """Examine every value once, without recursion. Return whether the object can be examined further, and findings."""
    findings: list[Finding] = []
    stack: list[tuple[Any, _Link, int]] = [(document, None, 1)]
    count = 0
    while stack:
        value, link, depth = stack.pop()
        count += 1
        if count > most_values:
            findings.append(_too_many_values(name, most_values))
            return False, findings
        if isinstance(value, str):
            if _UNSTORABLE.search(value):
                findings.append(_bad_character(name, _path(link)))
            continue
        if not isinstance(value, dict | list):
            continue
        if depth > MAX_DEPTH:
            findings.append(_too_deep(name))
            return False, findings
        if isinstance(value, dict):
            findings.extend(_member_findings(value, name, link, duplicates))
        members = value.items() if isinstance(value, dict) else enumerate(value)
        stack.extend(reversed([(member, (link, key), depth + 1) for key, member in members]))
    return True, findings


def _member_findings(
    value: dict[str, Any], name: str, link: _Link, duplicates: Mapping[int, list[str]]
) -> Iterator[Finding]:
    for key in duplicates.get(id(value), ()):
        message = f"the member {quoted(key)} appears more than once in one object"
        yield Finding("DOCUMENT_DUPLICATE_KEY", field_of(name, (*_path(link), key)), message)
    for key in value:
        if _UNSTORABLE.search(key):
            yield _bad_character(name, (*_path(link), key))


def _path(link: _Link) -> Path:
    return () if link is None else (*_path(link[0]), link[1])


def _too_many_values(name: str, most_values: int) -> Finding:
    return Finding("DOCUMENT_TOO_MANY_VALUES", name, f"the document contains more than {most_values} values")


def _too_deep(name: str) -> Finding:
    return Finding("DOCUMENT_TOO_DEEP", name, f"the document nests deeper than {MAX_DEPTH} levels")


def _bad_character(name: str, path: Path) -> Finding:
    return Finding("DOCUMENT_BAD_CHARACTER", field_of(name, path), "U+0000 and lone surrogates cannot be stored")


# --- values from workers --------------------------------------------------------------------------


def storable(text: str) -> Any:
    """Return the JSON value in `text`.

    Raises ValueError for what PostgreSQL cannot store as jsonb: U+0000, lone surrogates and numbers that are not
    finite. Raises it also for more than MOST_VALUES values, and for more than DEEPEST levels.
    """
    data = text.encode()
    if holds_more_values(data, MOST_VALUES):
        raise ValueError(f"the value contains more than {MOST_VALUES} values")
    try:
        value = _STORABLE.decode(text)
    except RecursionError:
        raise ValueError(f"the value nests deeper than {DEEPEST} levels") from None
    if b"\\" not in data and data.count(b"[") + data.count(b"{") < DEEPEST:
        return value  # without an escape, such characters would have failed above
    rest = [(value, 1)]
    while rest:
        inner, depth = rest.pop()
        if depth > DEEPEST:
            raise ValueError(f"the value nests deeper than {DEEPEST} levels")
        if isinstance(inner, dict):
            rest += [(part, depth + 1) for member in inner.items() for part in member]
        elif isinstance(inner, list):
            rest += [(item, depth + 1) for item in inner]
        elif isinstance(inner, str):
            inner.encode()
            if "\x00" in inner:
                raise ValueError("a string contains the character U+0000")
    return value


def all_storable(texts: Sequence[str]) -> list[Any]:
    """Return the JSON values in `texts`. Raises ValueError as `storable` does, and for more than MOST_VALUES in all."""
    if values_in(texts) > MOST_VALUES:
        raise ValueError(f"the values contain more than {MOST_VALUES} values")
    return [storable(text) for text in texts]


def values_in(texts: Sequence[str]) -> int:
    """Return the number of JSON values in all texts; 0 if it is certainly at most MOST_VALUES, without counting."""
    # A text has at most as many values as characters.
    return sum(count_values(text.encode()) for text in texts) if sum(map(len, texts)) > MOST_VALUES else 0


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a valid JSON number")
    return number


_STORABLE: Final = json.JSONDecoder(parse_constant=_finite, parse_float=_finite)
