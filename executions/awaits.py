"""Opens the unit of a suspended execution, in the transaction that parks it (wire protocol F.3, E.10)."""

import uuid

from coordinator.tenancy.models import Tenant
from executions.protocol import Suspension


def park(tenant: Tenant, execution_id: uuid.UUID, unit_id: uuid.UUID, suspension: Suspension) -> None:
    """Write the unit and its interactions; deadlines run from now by the database's clock."""
    raise NotImplementedError
