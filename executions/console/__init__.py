"""Pages of the execution, and what all pages share: confirmation, payloads, filters."""
