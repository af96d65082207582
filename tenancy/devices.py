"""Says in words what sent a request: "Firefox on Windows". Pure.

A `User-Agent` is what a browser claims. It helps people to recognize their own devices, and proves nothing.
"""

from typing import Final

# The first that the text contains: most browsers also name the others that they resemble.
_BROWSERS: Final = (
    *(
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("FxiOS/", "Firefox"),
        ("HeadlessChrome/", "Chrome"),
    ),
    *(("Chrome/", "Chrome"), ("CriOS/", "Chrome"), ("Chromium/", "Chromium"), ("Safari/", "Safari"), ("curl/", "curl")),
)
_SYSTEMS: Final = (
    *(("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("CrOS", "ChromeOS"), ("Windows", "Windows")),
    *(("Mac OS X", "macOS"), ("Macintosh", "macOS"), ("Linux", "Linux")),
)


def device(user_agent: str) -> str:
    """Return the browser and the system of a `User-Agent` header."""
    browser, system = (_first(names, user_agent) for names in (_BROWSERS, _SYSTEMS))
    if browser and system:
        return f"{browser} on {system}"
    return browser or system or "Unknown device"


def _first(names: tuple[tuple[str, str], ...], text: str) -> str:
    return next((name for part, name in names if part in text), "")
