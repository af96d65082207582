"""The failures of a command. Each class has its own exit status."""


class CommandFailed(Exception):
    """A command cannot continue. `exit_status` tells scripts the class of the failure."""

    exit_status = 2


class BadInput(CommandFailed):
    """A command line or a configuration is not valid."""


class BadRelease(CommandFailed):
    """A release breaks a rule of release descriptors."""

    exit_status = 3

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"{rule}: {message}")


class Unresolved(CommandFailed):
    """An artifact cannot be read, or it does not have the pinned digest."""

    exit_status = 4


class NotAuthorised(CommandFailed):
    """There is no usable bearer, or the target denies access."""

    exit_status = 5


class TargetFailed(CommandFailed):
    """The target is not available, or its response is not the one that the protocol demands."""

    exit_status = 6
