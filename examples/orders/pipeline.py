"""Validate an order, create it, wait for the restaurant's decision, and finalise it.

    pipelines release examples.orders.pipeline:pipeline --release-version 1.0
    pipelines worker dist/1.0
    pipelines worker dist/1.0 --protocol rest

The last two commands host the same release, over the broker and over HTTP. Each may run any part of an execution.
"""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Annotated
from uuid import UUID, uuid5

from pydantic import Field

from pipelines import NonRetryable, Pipeline, StepContext

ORDERS = UUID("6f1d3c1e-6a0f-4f0e-9a59-3d5f0f6f7f10")


@dataclass
class OrderLine:
    dish: str
    quantity: int
    price: Decimal


@dataclass
class OrderRequest:
    """A customer's request. The customer chooses `request_id`, which is the same for the same order."""

    request_id: str
    customer: str
    lines: list[OrderLine]


@dataclass
class ValidOrder:
    request_id: str
    customer: str
    lines: list[OrderLine]
    total: Decimal


@dataclass
class PendingApproval:
    """The request to the restaurant."""

    order_id: UUID
    customer: str
    total: Annotated[Decimal, Field(json_schema_extra={"unit": "EUR"})]
    dishes: list[str]


@dataclass
class Decision:
    """The restaurant's response."""

    order_id: UUID
    accepted: Annotated[bool, Field(title="Do you accept the order?")]
    note: Annotated[str, Field(title="Note to the customer", examples=["Ready at 19:30"])]


@dataclass
class FinishedOrder:
    order_id: UUID
    state: str
    note: str


pipeline = Pipeline("org.example.restaurant-orders")


@pipeline.step
def validate_order(order: OrderRequest) -> ValidOrder:
    """Check the order. A retry cannot fix an order without dishes or with a negative price."""
    if not order.lines:
        raise NonRetryable(f"order {order.request_id} names no dish")
    if any(line.quantity < 1 or line.price < 0 for line in order.lines):
        raise NonRetryable(f"order {order.request_id} has a line without a quantity or a price")
    total = sum((line.price * line.quantity for line in order.lines), Decimal(0))
    return ValidOrder(order.request_id, order.customer, order.lines, total)


@pipeline.step
def create_order(order: ValidOrder, context: StepContext) -> PendingApproval:
    """Create the order. Its id is derived from the request's, so each attempt creates the same order."""
    order_id = uuid5(ORDERS, f"{context.tenant_id}:{order.request_id}")
    return PendingApproval(order_id, order.customer, order.total, [line.dish for line in order.lines])


pipeline.awaits(
    "Await restaurant decision",
    request=PendingApproval,
    response=Decision,
    timeout=timedelta(minutes=30),
    group="restaurant",
)


@pipeline.step
def finalise_order(decision: Decision) -> FinishedOrder:
    """Take the answer alone, so that coordinators of `/tpf` can resume it too."""
    state = "ACCEPTED" if decision.accepted else "REJECTED"
    return FinishedOrder(decision.order_id, state, decision.note)
