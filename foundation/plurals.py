"""Counts in words. Templates use Django's `pluralize` for nouns. Pure."""


def counted(count: int, one: str, several: str = "") -> str:
    """Return the count with its noun: "1 execution", "1,200 executions". `several` is the noun's irregular plural."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"


def up_to(count: int, most: int) -> str:
    """Return a bounded count in words: "1,200", or "more than 10,000" if it exceeds `most`. Also a template filter."""
    return f"more than {most:,}" if count > most else f"{count:,}"
