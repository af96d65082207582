"""What benchmarks need that insert executions, more than could be run: a finished one, and columns of copies."""

from collections.abc import Collection

import psycopg

from benchmarks.product_under_test import ProductUnderTest
from benchmarks.running_product import THREE_STEPS, SubmissionMode


def finished_template(product: ProductUnderTest) -> None:
    """Run the execution from which the others are copied."""
    product.round(THREE_STEPS, 1, SubmissionMode(1))


def columns_of(connection: psycopg.Connection, table: str, *, leave_out: Collection[str] = ()) -> list[str]:
    """Return the columns of a table that an INSERT may name, in their order."""
    found = connection.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND is_generated = 'NEVER'"
        " ORDER BY ordinal_position",
        [table],
    )
    return [name for (name,) in found if name not in leave_out]
