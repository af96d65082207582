"""Which texts are web addresses: http and https URLs that this product calls, or gives to others to call. Pure."""

from typing import Final
from urllib.parse import SplitResult, urlsplit

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
LONGEST_URL: Final = 2000


def split(url: str, longest: int = LONGEST_URL) -> SplitResult:
    """Return the parts of an http or https URL with a host, and without credentials and fragment.

    Raises ValueError, whose text names the broken rule and never contains the URL.
    """
    if (
        len(url) > longest
        or not url.isascii()
        or any(character in "\\ " or not character.isprintable() for character in url)
    ):
        raise ValueError("the URL is too long, or contains a character that is not allowed in a URL")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the URL is malformed") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError("the URL is neither http nor https")
    if "@" in parts.netloc:
        raise ValueError("the URL contains credentials")
    if "#" in url:
        raise ValueError("the URL has a fragment")
    if not (parts.hostname or "").rstrip(".") or port == 0:
        raise ValueError("the URL names no host")
    return parts


def is_web_address(url: object) -> bool:
    """Return True if `url` is a text that `split` accepts."""
    if not isinstance(url, str):
        return False
    try:
        split(url)
    except ValueError:
        return False
    return True
