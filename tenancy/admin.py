"""Admin pages of tenants, memberships, users, tokens and the audit log."""

from tenancy import tenant_pages, token_pages, user_pages
from tenancy.audit import pages as audit
from tenancy.members import pages as members

__all__ = ["audit", "members", "tenant_pages", "token_pages", "user_pages"]
