"""The quotas of a tenant. A new one is a row of QUOTAS, a column of `Tenant` and a migration."""

from dataclasses import dataclass
from typing import Final

MOST_OF_A_QUOTA = 2**53 - 1


@dataclass(frozen=True)
class Quota:
    """A quota: its name in the API, its column in `Tenant`, its label, what it limits, and what happens beyond it."""

    name: str
    column: str
    label: str
    meaning: str
    effect: str


QUOTAS: Final = (
    Quota(
        "submissionsPerSecond",
        "quota_submissions",
        "submissions a second",
        "Submissions that are accepted in a second.",
        "Further ones get 429 until the next second.",
    ),
    Quota(
        "openExecutions",
        "quota_open_executions",
        "open executions",
        "Executions that have not ended.",
        "Submissions get 429 while this many have not ended.",
    ),
    Quota(
        "payloadBytes",
        "quota_payload_bytes",
        "bytes of an input",
        "Bytes of the input of one submission, as compact JSON in UTF-8.",
        "Larger inputs are refused.",
    ),
    Quota(
        "storageBytes",
        "quota_storage_bytes",
        "stored bytes",
        "Bytes of the artifacts of all releases, each digest once.",
        "Uploads beyond this are refused.",
    ),
    Quota(
        "uploadsPerHour",
        "quota_uploads",
        "uploads an hour",
        "Releases and direct uploads of artifacts within an hour.",
        "Further uploads of releases get 429.",
    ),
    Quota(
        "workers",
        "quota_workers",
        "live workers",
        "Workers that are alive.",
        "Further workers are not registered. MAX_TENANT_WORKERS applies too.",
    ),
)
