"""Pauses of executions, releases and pipelines."""
