"""Executions: tasks and errors, search and lists, counts."""
