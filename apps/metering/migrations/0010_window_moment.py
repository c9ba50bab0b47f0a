"""What a time-weighted sum needs of a window: each value times the seconds it was held until the hour's end."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("metering", "0009_event_log_and_store")]

    operations = [
        migrations.RunSQL(
            # Values have nine places and seconds six. Metrics of another aggregation have none, which costs nothing.
            "ALTER TABLE metering_window ADD COLUMN moment numeric",
            "ALTER TABLE metering_window DROP COLUMN moment",
        ),
    ]
