"""The rule for the URLs that webhooks are sent to. Pure."""

from urllib.parse import urlsplit


def is_web_address(url: object) -> bool:
    """Return True if `url` is an absolute http or https URL with a host."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
    except ValueError:
        return False
    return parts is not None and parts.scheme in {"http", "https"} and bool(parts.hostname)
