"""Asks two services at once, asks a person about large offers only, and books an offer in one of two ways."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from urllib.request import urlopen

from pipelines import Pipeline, branch

pipeline = Pipeline("tests.branches", checkpoint=True)


@dataclass
class Order:
    number: int
    service: str


def price(order: Order) -> int:
    with urlopen(f"{order.service}/price") as response:
        return order.number * int(response.read())


async def stock(order: Order) -> list[int]:
    return [order.number]


def delivery(order: Order) -> str:
    with urlopen(f"{order.service}/delivery") as response:
        return str(response.read())


def is_large(total: int) -> bool:
    return total > 1_000


def route(total: int) -> Literal["large", "small"]:
    return "large" if total > 1_000 else "small"


def large(total: int) -> str:
    return f"large: {total}"


def small(total: int) -> str:
    return f"small: {total}"


pipeline.gather(price, stock, branch(delivery, retries=3, delay=0.1))


@pipeline.step
def offer(price: int, stock: list[int], delivery: str) -> int:
    return price


pipeline.awaits("Approve", request=int, response=bool, timeout=timedelta(days=1), when=is_large)


@pipeline.step
def book(total: int, approved: bool | None) -> int:
    return total


pipeline.choose(route, large=large, small=small)
