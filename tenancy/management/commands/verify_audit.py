"""`coordinator verify_audit [TENANT]`: verifies the audit log."""

import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from tenancy.audit import chain
from tenancy.management import base
from tenancy.models import Tenant


class Command(base.Command):
    help = (
        "Verify the chains of the audit log, or that of one tenant. Prints the number of entries and the hash of the "
        "newest one. The exit status is 1 if a chain is broken."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", nargs="?", help="the slug; all chains by default")
        parser.add_argument(
            "--expect",
            metavar="SEQUENCE:HASH",
            help="an earlier output of this command for the tenant, which must still be in its chain",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        slug, expected = options["tenant"], options["expect"]
        if expected and not slug:
            raise CommandError("--expect needs a tenant.")
        tenants = [self.tenant(slug)] if slug else chain.chains()
        sound = [self._verify(tenant) for tenant in tenants]
        if expected and sound == [True]:
            sound.append(self._holds(self.tenant(slug), expected))
        if not all(sound):
            sys.exit(1)

    def _verify(self, tenant: Tenant | None) -> bool:
        name = tenant.slug if tenant else "(installation)"
        match chain.verify(tenant):
            case chain.Verified(entries, head):
                self.stdout.write(f"{name}: OK, {entries} entries, head {entries}:{head}")
                return True
            case chain.Broken(sequence, problem):
                self.stdout.write(f"{name}: BROKEN at sequence {sequence}: {problem}")
        return False

    def _holds(self, tenant: Tenant, expected: str) -> bool:
        sequence, _, hashed = expected.partition(":")
        if not sequence.isascii() or not sequence.isdigit() or len(sequence) > 18:
            raise CommandError("--expect must be SEQUENCE:HASH.")
        if chain.entries(tenant).filter(sequence=int(sequence), hash=hashed).exists():
            return True
        self.stdout.write(f"{tenant.slug}: BROKEN: it has no entry {expected}")
        return False
