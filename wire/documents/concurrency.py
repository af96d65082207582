"""How many executions of a pipeline may be in progress at once, for each value of a field of their inputs. Pure.

An artifact declares it in the member `concurrency` of its declarations: `{"limit": 5, "key": "customer.id"}`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from wire.documents.search import is_path

MOST: Final = 1000
LONGEST_KEY: Final = 800
QUEUE: Final = "queue"
REFUSE: Final = "refuse"
_LONGEST_VALUE: Final = 200
MEMBERS: Final = {"limit", "key", "whenFull"}


@dataclass(frozen=True, slots=True)
class ConcurrencyLimit:
    """At most `limit` executions with an equal key are in progress. `path` leads to it; empty if all have the same key.

    With `refuses`, a submission beyond the limit is refused. Otherwise its execution waits.
    """

    limit: int
    path: str
    refuses: bool

    def key_of(self, value: Any) -> str:
        """Return the key of an input, such as `customer.id=c-17`. All inputs without a value there have the same key.

        A value of more than 200 characters is replaced by its digest.
        """
        if not self.path:
            return "*"
        for name in self.path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        text = value if isinstance(value, str) else "" if value is None else json.dumps(value, sort_keys=True)
        if len(text) > _LONGEST_VALUE or "\0" in text:
            text = f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"
        return f"{self.path}={text}"


def limit_of(declared: Mapping[str, Any]) -> ConcurrencyLimit:
    """Return the limit that the member `concurrency` of valid declarations declares."""
    return ConcurrencyLimit(declared["limit"], declared.get("key", ""), declared.get("whenFull") == REFUSE)


def wrong_limit(declared: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the member `concurrency` of declarations."""
    if unknown := sorted(declared.keys() - MEMBERS):
        yield f"concurrency has no member {unknown[0]!r}"
    limit, path = declared.get("limit"), declared.get("key", "")
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MOST:
        yield f"concurrency has the limit {limit!r}; it is a number from 1 to {MOST}"
    if path != "" and not is_path(path):
        yield f"concurrency has the key {path!r}; a key is the names of fields with dots between them"
    if declared.get("whenFull", QUEUE) not in (QUEUE, REFUSE):
        yield f"concurrency has whenFull {declared['whenFull']!r}; it is {QUEUE!r} or {REFUSE!r}"
