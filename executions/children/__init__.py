"""Executions that steps of others call: their submission, and how their ends reach the parents."""
