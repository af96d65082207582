"""Counts in words. Templates use Django's `pluralize` for nouns. Pure."""


def counted(count: int, singular: str, plural: str = "") -> str:
    """Return the count with its noun: "1 execution", "1,200 executions". `plural` is an irregular plural."""
    return f"{count:,} {singular if count == 1 else plural or f'{singular}s'}"


def up_to(count: int, most: int) -> str:
    """Return a bounded count in words: "1,200", or "more than 10,000" if it exceeds `most`. Also a template filter."""
    return f"more than {most:,}" if count > most else f"{count:,}"
