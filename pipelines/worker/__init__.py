"""Workers, over Celery and over HTTP."""
