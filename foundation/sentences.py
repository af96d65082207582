"""Joins texts and sentences. Pure."""

from collections.abc import Iterable


def sentence(text: str) -> str:
    """Return the text with a full stop at its end."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def joined(texts: Iterable[str], separator: str = ", ") -> str:
    """Join texts with the separator. If one ends with a full stop, they are sentences, which a space separates."""
    every = list(texts)
    if any(text.endswith(".") for text in every):
        return " ".join(map(sentence, every))
    return separator.join(every)
