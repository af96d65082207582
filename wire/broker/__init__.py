"""The client of the broker; the only part of `wire` that imports kombu and Celery."""
