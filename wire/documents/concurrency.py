"""How many executions of a pipeline start and are in progress, for each value of a field of their inputs. Pure.

An artifact declares it in the member `concurrency` of its declarations: `{"limit": 5, "key": "customer.id"}`. Other
rules are a rate, `{"rate": {"limit": 10, "seconds": 60}}`, and a quiet time, `{"debounceSeconds": 30}`. At least one of
the three is there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from wire.documents.search import is_path

MOST: Final = 1000
LONGEST_SECONDS: Final = 86_400
LONGEST_KEY: Final = 800
OF_ALL: Final = "*"
"""The key of all executions of a pipeline whose limit names none."""
QUEUE: Final = "queue"
REFUSE: Final = "refuse"
_LONGEST_VALUE: Final = 200
_MOST_BYTES: Final = 1000
"""What a key may need in UTF-8, because an entry of an index has at most 2,700 bytes."""
_RULES: Final = ("limit", "rate", "debounceSeconds")
MEMBERS: Final = {*_RULES, "key", "whenFull"}


@dataclass(frozen=True, slots=True)
class ConcurrencyLimit:
    """When executions with an equal key start. `path` leads to the key; empty if all have the same.

    With `refuses`, a submission that cannot start now is refused. Otherwise its execution waits. With `debounces`, the
    newest of the waiting executions replaces the others.
    """

    path: str
    refuses: bool
    debounces: bool

    def key_of(self, value: Any) -> str:
        """Return the key of an input, such as `customer.id=c-17`. All inputs without a value there have the same key.

        A value of more than 200 characters, or of many bytes, is replaced by its digest. Equal numbers have equal keys.
        """
        if not self.path:
            return OF_ALL
        for name in self.path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        text = value if isinstance(value, str) else "" if value is None else json.dumps(value, sort_keys=True)
        data = text.encode("utf-8", "surrogatepass")
        if len(text) > _LONGEST_VALUE or "\0" in text or len(self.path.encode()) + len(data) >= _MOST_BYTES:
            text = f"sha256:{hashlib.sha256(data).hexdigest()}"
        return f"{self.path}={text}"


def limit_of(declared: Mapping[str, Any]) -> ConcurrencyLimit:
    """Return the limit that the member `concurrency` of valid declarations declares."""
    return ConcurrencyLimit(declared.get("key", ""), declared.get("whenFull") == REFUSE, "debounceSeconds" in declared)


def wrong_limit(declared: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the member `concurrency` of declarations."""
    if unknown := sorted(declared.keys() - MEMBERS):
        yield f"concurrency has no member {unknown[0]!r}"
    if not any(rule in declared for rule in _RULES):
        yield "concurrency has no limit, no rate and no debounceSeconds"
    if "limit" in declared and not _is_number_up_to(declared["limit"], MOST):
        yield f"concurrency has the limit {declared['limit']!r}; it is a number from 1 to {MOST}"
    if "rate" in declared and not _is_rate(declared["rate"]):
        numbers = f"the number limit from 1 to {MOST} and the number seconds from 1 to {LONGEST_SECONDS}"
        yield f"concurrency has the rate {declared['rate']!r}; it has {numbers}"
    quiet = declared.get("debounceSeconds", 1)
    if not _is_number_up_to(quiet, LONGEST_SECONDS):
        yield f"concurrency has debounceSeconds {quiet!r}; it is a number from 1 to {LONGEST_SECONDS}"
    path = declared.get("key", "")
    if path != "" and not is_path(path):
        yield f"concurrency has the key {path!r}; a key is the names of fields with dots between them"
    when_full = declared.get("whenFull", QUEUE)
    if when_full not in (QUEUE, REFUSE):
        yield f"concurrency has whenFull {when_full!r}; it is {QUEUE!r} or {REFUSE!r}"
    elif when_full == REFUSE and "debounceSeconds" in declared:
        yield f"concurrency has debounceSeconds and whenFull {REFUSE!r}; executions that wait are not refused"


def _is_number_up_to(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _is_rate(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and value.keys() == {"limit", "seconds"}
        and _is_number_up_to(value["limit"], MOST)
        and _is_number_up_to(value["seconds"], LONGEST_SECONDS)
    )
