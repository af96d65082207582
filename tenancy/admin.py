"""Admin pages of tenants, memberships, users, tokens and the audit log."""

from tenancy import invitation_pages, member_pages, tenant_pages, token_pages, user_pages
from tenancy.audit import pages as audit

__all__ = ["audit", "invitation_pages", "member_pages", "tenant_pages", "token_pages", "user_pages"]
