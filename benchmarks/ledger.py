"""Checks the executions of each round in the product's database."""

import time
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

TIMEOUT_SECONDS = 300.0
_LIVE = """
SELECT EXISTS (SELECT FROM executions_execution
    WHERE status NOT IN ('SUCCEEDED', 'FAILED', 'DLQ', 'CANCELLED') AND release_id IN (
        SELECT r.id FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id
        WHERE p.pipeline_id = %(pipeline)s))
"""
_ROUND = """
SELECT count(*), count(*) FILTER (WHERE e.status = 'SUCCEEDED' AND e.result = %(result)s),
    count(*) FILTER (WHERE h.ends = 1), extract(epoch FROM max(e.finished_at))::float8, coalesce(sum(h.dropped), 0),
    coalesce(sum(h.kept), 0)::bigint
FROM executions_execution e
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE status IN ('SUCCEEDED', 'FAILED', 'DLQ', 'CANCELLED')
            AND kind <> 'OUTCOME_DROPPED') AS ends,
        count(*) FILTER (WHERE kind = 'OUTCOME_DROPPED') AS dropped,
        count(*) FILTER (WHERE kind = 'CHECKPOINT') AS kept
    FROM executions_executionevent v WHERE v.execution_id = e.id
) h
WHERE e.pipeline_id = %(pipeline)s AND starts_with(e.execution_key, %(prefix)s)
"""


class LedgerError(Exception):
    """An accepted execution is lost, unfinished, failed, or ended twice. The measurement is invalid."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Counters of PostgreSQL since its cluster was created: writing transactions, and bytes of WAL."""

    writes: int
    wal_bytes: int


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of the last execution of a round, in seconds since the epoch, and the number of stored checkpoints."""

    last: float
    checkpoints: int


class Ledger:
    """Reads as the owner of the tables with a separate connection."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)

    def wait_until_idle(self, pipeline_id: str) -> None:
        """Return once no execution of the pipeline is live. Raises `LedgerError` after TIMEOUT_SECONDS."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self._one(_LIVE, {"pipeline": pipeline_id})[0]:
            if time.monotonic() > deadline:
                raise LedgerError(f"{pipeline_id} has unfinished executions after {TIMEOUT_SECONDS:g} s")
            time.sleep(0.1)

    def require_all_done(self, pipeline_id: str, prefix: str, accepted: int, result: Any) -> Ending:
        """Return the end of the round.

        Raises `LedgerError` unless all executions whose keys have this prefix SUCCEEDED with `result` and have exactly
        one terminal event, and their number is `accepted`.
        """
        parameters = {"pipeline": pipeline_id, "prefix": prefix, "result": Jsonb([result])}
        executions, succeeded, ended_once, last, dropped, kept = self._one(_ROUND, parameters)
        if not executions == succeeded == ended_once == accepted:
            raise LedgerError(
                f"{pipeline_id} {prefix}: {accepted} accepted, {executions} found, {succeeded} succeeded with the "
                f"right result, {ended_once} with exactly one terminal event, {dropped} outcomes dropped"
            )
        return Ending(float(last), int(kept))

    def counters(self) -> Counters:
        row = self._one(
            "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint, (pg_current_wal_lsn() - '0/0')::bigint", {}
        )
        return Counters(*row)

    def close(self) -> None:
        self.connection.close()

    def _one(self, query: str, parameters: dict[str, Any]) -> tuple[Any, ...]:
        row = self.connection.execute(query.encode(), parameters).fetchone()
        if row is None:
            raise LedgerError("The query returned no row.")
        return row
