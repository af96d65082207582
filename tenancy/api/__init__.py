"""Authentication, permissions, the base class of tenant-scoped views, operations as functions."""
