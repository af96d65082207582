"""The overview page: what needs attention, what runs where and how well, and what was activated."""

from coordinator.overview.page import overview

__all__ = ["overview"]
