"""Python loads this in each process of a product that tests start, and so watches it. See `tests.transaction_calls`."""

from tests.transaction_calls import watch

watch()
