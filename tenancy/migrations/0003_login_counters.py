from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenancy", "0002_invariants")]

    operations = [
        migrations.CreateModel(
            name="LoginCounter",
            fields=[
                ("key", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("attempts", models.PositiveIntegerField()),
                ("ends_at", models.DateTimeField(db_index=True)),
                ("known_until", models.DateTimeField(null=True)),
            ],
        ),
    ]
