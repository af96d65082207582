"""A pipeline that uses members of contracts and declarations that the previous version does not know."""

from dataclasses import dataclass
from datetime import timedelta

from pipelines import Concurrency, Pipeline


@dataclass
class Order:
    id: str


pipeline = Pipeline("org.example.language", search={"order": "id"}, concurrency=Concurrency(limit=5, key="id"))


@pipeline.step(retries=5, timeout=30)
def check(order: Order) -> Order:
    return order


pipeline.awaits("Approve", request=Order, response=bool, timeout=timedelta(days=1))


@pipeline.step
def book(order: Order, approved: bool) -> str:
    return order.id if approved else ""
