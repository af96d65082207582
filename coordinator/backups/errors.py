"""The error of this package."""


class BackupError(Exception):
    """A backup cannot be made, or cannot be restored. The message is for operators, and contains no secret."""
