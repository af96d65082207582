"""May we switch? Decisions that need both releases and executions, and the pages of these."""
