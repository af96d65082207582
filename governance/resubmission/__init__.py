"""New executions from old ones, on the same or on another release."""
