"""Tables of words in tests."""


def words(text: str) -> list[str]:
    """Return the words of a text, which may have several lines."""
    return text.split()
