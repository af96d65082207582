"""Routes new executions between the active release and the candidate of a gradual activation."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

BUCKETS = 10_000


def bucket(gradual_id: str, key: str) -> int:
    """Return the bucket of a routing key, from 0 to BUCKETS - 1. Other gradual activations give it other buckets."""
    digest = hashlib.sha256(f"{gradual_id}:{key}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % BUCKETS


@dataclass(frozen=True, slots=True)
class Routing:
    """The routing at one step: the candidate gets the buckets below `limit`, all these tags, and all these actors."""

    gradual_id: str
    limit: int
    tags: frozenset[str] = frozenset()
    actors: frozenset[str] = frozenset()

    def takes(self, key: str, *, tags: Sequence[str] = (), actor: str = "") -> bool:
        """Return True if an execution with this routing key gets the candidate."""
        if actor in self.actors or not self.tags.isdisjoint(tags):
            return True
        return self.limit > 0 and bucket(self.gradual_id, key) < self.limit
