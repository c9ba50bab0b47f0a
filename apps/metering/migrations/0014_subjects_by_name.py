"""Subjects are found by their name alone.

The index of their organization by itself was taken for the one of their names wherever the planner knew too little of
the table, and then every subject of a merchant was read to find one.
"""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("metering", "0013_late_index")]

    operations = [
        # Altering the field would check the reference of every subject again.
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    "DROP INDEX IF EXISTS metering_subject_organization_id_04bffc73",
                    "CREATE INDEX metering_subject_organization_id_04bffc73 ON metering_subject (organization_id)",
                )
            ],
            state_operations=[
                migrations.AlterField(
                    model_name="subject",
                    name="organization",
                    field=models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="organizations.organization",
                    ),
                )
            ],
        )
    ]
