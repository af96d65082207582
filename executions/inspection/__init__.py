"""Reads: the timeline of an execution, callers, the plan of workers."""
