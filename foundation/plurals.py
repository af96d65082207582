"""Counts things in words. Templates use Django's `pluralize`. Pure."""


def counted(count: int, one: str, several: str = "") -> str:
    """Return the count with its noun: "1 execution", "1,200 executions". `several` is the noun's irregular plural."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"
