"""Requests to activate a release: votes and schedules."""
