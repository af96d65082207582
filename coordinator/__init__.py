"""The Django project: settings, URLs, the WSGI and Celery entry points, health, navigation."""
