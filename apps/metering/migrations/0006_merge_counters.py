"""What the merges did so far, kept with the rows that they lock anyway."""

from django.db import migrations

FORWARD = """
ALTER TABLE metering_bucket
    ADD COLUMN merged bigint NOT NULL DEFAULT 0,
    ADD COLUMN repeated bigint NOT NULL DEFAULT 0,
    ADD COLUMN conflicts bigint NOT NULL DEFAULT 0,
    ADD COLUMN busy_seconds numeric(20, 6) NOT NULL DEFAULT 0,
    ADD COLUMN merged_at timestamptz;
"""
BACK = """
ALTER TABLE metering_bucket
    DROP COLUMN merged, DROP COLUMN repeated, DROP COLUMN conflicts, DROP COLUMN busy_seconds, DROP COLUMN merged_at;
"""


class Migration(migrations.Migration):
    dependencies = [("metering", "0005_narrow_indexes")]

    operations = [migrations.RunSQL(FORWARD, BACK)]
