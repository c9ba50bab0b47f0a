"""The index by which late changes of a metric and subject are found; built while events go on being counted."""

from django.db import migrations


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("metering", "0012_late_marks")]

    operations = [
        migrations.RunSQL(
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS metering_window_late"
            " ON metering_window (metric_id, subject_id, late_xid) WHERE late_xid IS NOT NULL",
            "DROP INDEX CONCURRENTLY IF EXISTS metering_window_late",
        )
    ]
