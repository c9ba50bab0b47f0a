from django.db import migrations

FORWARD = """
-- Raw events from before this were dropped when the store began to be filled; null when there were none.
ALTER TABLE metering_storeposition ADD COLUMN holds_from timestamptz;
"""


class Migration(migrations.Migration):
    dependencies = [("metering", "0010_window_moment")]

    operations = [
        migrations.RunSQL(sql=FORWARD, reverse_sql="ALTER TABLE metering_storeposition DROP COLUMN holds_from;")
    ]
