"""`coordinator remove_executions`: says how many executions are older than kept; --remove removes them."""

from typing import Any

from django.core.management.base import CommandParser

from executions.lifecycle import retention
from foundation.plurals import up_to
from tenancy.audit.acts import Act
from tenancy.management import base


class Command(base.Command):
    help = "Say what is older than its tenant's term (a dry run, the default), or remove it, as the clock does."

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--dry-run", action="store_true", help="only say what would be removed (the default)")
        what.add_argument("--remove", action="store_true", help="remove it, until nothing is left")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["remove"]:
            count = retention.remove(seconds=float("inf"))
            self.record(Act.EXECUTIONS_REMOVE, "old", count=count)
            self.stdout.write(f"{count:,} executions were removed")
            return
        for tenant, kind, count in retention.removed_next():
            number = up_to(count, retention.MOST_COUNTED)
            self.stdout.write(f"{tenant}: {number} that {kind.name} over {getattr(tenant, kind.term)} days ago")
        self.stdout.write("Nothing was removed; --remove does it")
