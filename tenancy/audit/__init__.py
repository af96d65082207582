"""The audit log: who did what, when, from where, and whether it was granted.

`record` writes an entry in the transaction of the act, so there is no act without an entry and no entry without an act.
`deny`, `denials` and `observe` write a separate entry. See ADR 53.

An entry locks the head of its chain until the transaction ends. So `record` is the last call of a transaction that
locks anything, and a transaction that writes to several chains writes to those of tenants in the order
of their ids, and then to that of the installation.
"""

from tenancy.audit.recording import Entry, Outcome, denials, deny, observe, record

__all__ = ["Entry", "Outcome", "denials", "deny", "observe", "record"]
