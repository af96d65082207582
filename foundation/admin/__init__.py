"""Columns of list pages, times, durations, JSON as nested elements."""
