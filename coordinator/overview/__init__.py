"""The overview page: what needs attention, what runs where and how well, and what was activated."""
