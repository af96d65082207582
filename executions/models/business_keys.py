"""The business keys of executions: the keys with which callers submitted their inputs first.

The key of a resubmission names the execution that it resubmits (ADR 52). Its business key is that of the first
execution, to which the links lead.
"""

import uuid
from typing import Final

from django.db import connection

RESUBMISSION_PREFIX: Final = "resubmit:"
"""How the keys of resubmissions begin. Callers may use such keys too, so only a link proves a resubmission."""

# Finds the execution that was submitted first, and its key, for each of the resubmissions. No row: it is no
# resubmission, or the execution that it resubmits was removed.
FIRST_KEYS = """
WITH RECURSIVE linked (id, origin) AS (
    SELECT r.new_execution_id, r.execution_id FROM executions_resubmission r WHERE r.new_execution_id = ANY(%(ids)s)
    UNION ALL
    SELECT l.id, r.execution_id FROM linked l JOIN executions_resubmission r ON r.new_execution_id = l.origin
)
SELECT l.id, e.execution_key FROM linked l JOIN executions_execution e ON e.id = l.origin
WHERE NOT EXISTS (SELECT FROM executions_resubmission r WHERE r.new_execution_id = l.origin)
"""


def first_keys(resubmissions: list[uuid.UUID]) -> dict[uuid.UUID, str]:
    """Return the business keys of resubmissions by their ids. Without ids, nothing is read.

    Executions that resubmit none, or whose original was removed, have no entry.
    """
    if not resubmissions:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(FIRST_KEYS, {"ids": resubmissions})
        return dict(cursor.fetchall())
