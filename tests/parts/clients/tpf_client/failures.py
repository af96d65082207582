"""The failures of the client."""


class BadRelease(Exception):
    """A release breaks a rule of release descriptors."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"{rule}: {message}")


class Unresolved(Exception):
    """An artifact cannot be read, or it does not have the pinned digest."""


class NotAuthorised(Exception):
    """There is no usable bearer, or the target denies access."""


class TargetFailed(Exception):
    """The target is not available, or its response is not the one that the protocol demands."""
