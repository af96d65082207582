"""Base classes of tenant-scoped pages and lists, parts that come after their page."""
