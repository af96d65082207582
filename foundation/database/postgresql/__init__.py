"""The database backend, connection URLs, roles and rights."""
