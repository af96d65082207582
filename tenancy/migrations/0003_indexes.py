"""The index of a foreign key is dropped if the index of a unique constraint begins with the same column.

| index of | what is left |
|---|---|
| tenant of audit entries | `audit_sequence_once` |
| tenant of audit heads | `audit_head_once` |
| user of memberships | `membership_once` |
| tenant of tokens | `token_name_once` |

Each of the other indexes of audit entries has a filter of the audit log that reads it: by act, actor, object, request,
time, and refused acts.
"""

from django.db import migrations

from foundation.database.drop_index import DropIndexOfForeignKey


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("tenancy", "0002_guards"),)
    operations = (
        DropIndexOfForeignKey("apitoken", "tenant"),
        DropIndexOfForeignKey("auditentry", "tenant"),
        DropIndexOfForeignKey("audithead", "tenant"),
        DropIndexOfForeignKey("membership", "user"),
    )
