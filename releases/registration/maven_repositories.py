"""The Maven repositories that MAVEN_REPOSITORIES configures, in TOML. Pure.

Each repository lists the groups that it is asked for. So a public repository neither learns the names of private
artifacts nor can offer artifacts under these names.
"""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from foundation import secret_reference
from wire.addresses import is_web_address

Check = Callable[[Any], bool]
_POSITION = re.compile(r"at line \d+, column \d+|at end of document")


@dataclass(frozen=True, slots=True)
class Repository:
    """A Maven repository, the groups that it is trusted for, and the tenants that may use it.

    `credentials` is a reference (`foundation.secret_reference`), or empty. They belong to the origin of `url` alone.
    `tenants` is empty if every tenant may use the repository.
    """

    id: str
    url: str
    groups: tuple[str, ...]
    mirrors: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    credentials: str = ""

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs to try, in this order: `url`, then the mirrors."""
        return (self.url, *self.mirrors)

    def serves(self, group: str, tenant: str) -> bool:
        """Return True if artifacts of `group` may be resolved here for `tenant`."""
        return (not self.tenants or tenant in self.tenants) and any(_covers(pattern, group) for pattern in self.groups)


def _covers(pattern: str, group: str) -> bool:
    """`com.acme` covers that group. `com.acme.*` covers it and all groups below it."""
    parent = pattern.removesuffix(".*")
    return group == parent or (parent != pattern and group.startswith(f"{parent}."))


def read_repositories(text: str) -> tuple[Repository, ...]:
    """Return the repositories of a TOML document, in its order. An empty text has none.

    Raises ValueError that names each wrong entry by its position, and the broken rule. It contains no value.
    """
    if not text:
        return ()
    try:
        document = tomllib.loads(text)
    except ValueError as error:
        position = _POSITION.search(str(error))
        raise ValueError(f"is not TOML{f' ({position[0]})' if position else ''}") from None
    entries = document.get("repositories")
    if document.keys() != {"repositories"} or not isinstance(entries, list) or not entries:
        raise ValueError("must contain [[repositories]] entries, and nothing else")
    problems = [
        f"entry {number}: {problem}"
        for number, entry in enumerate(entries, 1)
        for problem in _problems(entry, [other.get("id") for other in entries[: number - 1] if isinstance(other, dict)])
    ]
    if problems:
        raise ValueError("; ".join(problems))
    return tuple(_repository(entry) for entry in entries)


def _repository(entry: Mapping[str, Any]) -> Repository:
    return Repository(
        id=entry["id"],
        url=entry["url"].rstrip("/"),
        groups=tuple(entry["groups"]),
        mirrors=tuple(mirror.rstrip("/") for mirror in entry.get("mirrors", ())),
        tenants=tuple(entry.get("tenants", ())),
        credentials=entry.get("credentials", ""),
    )


def _matches(pattern: str) -> Check:
    compiled = re.compile(pattern)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def _list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and bool(value) and all(map(check, value))


def _is_url(value: Any) -> bool:
    return is_web_address(value) and "?" not in value


_RULES: Final[dict[str, tuple[Check, str]]] = {
    "id": (_matches(r"[A-Za-z0-9._-]{1,64}"), "must be 1 to 64 letters, digits, dots, hyphens and underscores"),
    "url": (_is_url, "must be a URL such as https://maven.example/releases, without user info, query or fragment"),
    "mirrors": (_list_of(_is_url), "must be a list of URLs without user info, query or fragment"),
    "groups": (
        _list_of(_matches(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(\.\*)?")),
        "must be a list of groups such as com.acme, or com.acme.* with the groups below it",
    ),
    "tenants": (_list_of(_matches(r"[a-z0-9-]{1,63}")), "must be a list of tenants by their slugs, such as acme"),
    "credentials": (
        lambda value: isinstance(value, str) and secret_reference.is_reference(value),
        secret_reference.RULE,
    ),
    "plain-http": (lambda value: isinstance(value, bool), "must be true or false"),
}
_REQUIRED: Final = ("id", "url", "groups")


def _problems(entry: Any, earlier_ids: list[Any]) -> Iterator[str]:
    """Yield each broken rule of an entry."""
    if not isinstance(entry, dict):
        yield "must be a table"
        return
    if not entry.keys() <= _RULES.keys():
        yield f"may have no other members than {', '.join(_RULES)}"
    yield from (f"{name} is required" for name in _REQUIRED if name not in entry)
    valid = {name: entry[name] for name, (is_valid, _) in _RULES.items() if name in entry and is_valid(entry[name])}
    yield from (f"{name} {rule}" for name, (_, rule) in _RULES.items() if name in entry and name not in valid)
    if "id" in valid and valid["id"] in earlier_ids:
        yield "id is that of an earlier entry"
    urls = [valid.get("url", "https://"), *valid.get("mirrors", ())]
    if not valid.get("plain-http") and not all(url.startswith("https://") for url in urls):
        yield "url and mirrors must begin with https:// unless plain-http is true"
