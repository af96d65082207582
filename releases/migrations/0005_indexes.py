"""The index of a foreign key is dropped if the index of a constraint, or of a list, begins with the same column.

| index of | what is left |
|---|---|
| pipeline of activations, of activation requests | the unique `activation_sequence_once`, `activation_request_operation_once` |
| pipeline of contracts | the unique `contract_once` |
| release of artifacts, of attachments | the unique `artifact_position_once`, `attachment_position_once` |
| request of votes | the unique `vote_once` |
| tenant of deployments | `deployment_newest` |
| tenant of pipelines, of trusted keys | the unique `pipeline_once`, `trusted_key_once` |
"""

from django.db import migrations

from foundation.database.drop_index import DropIndexOfForeignKey


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("releases", "0004_guards_requests"),)
    operations = (
        DropIndexOfForeignKey("activation", "pipeline"),
        DropIndexOfForeignKey("activationrequest", "pipeline"),
        DropIndexOfForeignKey("artifact", "release"),
        DropIndexOfForeignKey("attachment", "release"),
        DropIndexOfForeignKey("contract", "pipeline"),
        DropIndexOfForeignKey("deployment", "tenant"),
        DropIndexOfForeignKey("pipeline", "tenant"),
        DropIndexOfForeignKey("trustedkey", "tenant"),
        DropIndexOfForeignKey("vote", "request"),
    )
