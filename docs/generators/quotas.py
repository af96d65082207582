"""The page of the quotas of a tenant."""

from typing import Final

from docs.generators.markdown import code, joined, table
from executions.errors import WorkerLimitReached
from foundation.errors import CoordinatorError, PayloadTooLarge, QuotaExceeded
from tenancy.quota_table import QUOTAS
from tenancy.quotas import StorageQuotaReached

HEAD: Final = """\
# Quotas

The limits that a superuser can set for a tenant. A tenant has none at first. [Set quotas](../how-to/set-quotas.md) says
how.
"""
REFUSALS: Final = """\
Every 429 has the header `Retry-After`, and its [problem](errors.md) has the members `quota` and `retryAfter`. Each item
of a batch has its own error.
"""
REFUSING: Final[dict[str, type[CoordinatorError]]] = {
    "payloadBytes": PayloadTooLarge,
    "storageBytes": StorageQuotaReached,
    "workers": WorkerLimitReached,
}
"""The errors other than `QuotaExceeded`, by the names of the quotas."""


def page() -> str:
    rows = []
    for quota in QUOTAS:
        error = REFUSING.get(quota.name, QuotaExceeded)
        rows.append((code(quota.name), quota.meaning, quota.effect, f"{error.status} {code(error.code)}"))
    return joined(HEAD, table(("quota", "what it limits", "beyond it", "error"), rows), REFUSALS)
