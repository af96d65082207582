"""The REST paths of the version before, until the next version."""
