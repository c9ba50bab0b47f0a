"""Changes of hours that are long over leave a mark, so that whoever keeps a sum of such hours can tell that it changed.

The mark is the transaction that changed the window: unlike a time, it tells a reader exactly whether its snapshot had the
change. Windows of the last hours have none, so that counting the events of now neither calls the trigger nor moves the
row away from its page for an index.
"""

from django.db import migrations

FORWARD = """
ALTER TABLE metering_window ADD COLUMN late_xid xid8;
ALTER TABLE metering_windowgone ADD COLUMN late_xid xid8;
CREATE FUNCTION metering_mark_late() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.late_xid := pg_current_xact_id();
    RETURN NEW;
END $$;
CREATE TRIGGER metering_window_late BEFORE INSERT OR UPDATE ON metering_window
FOR EACH ROW WHEN (NEW.hour < now() - interval '3 hours') EXECUTE FUNCTION metering_mark_late();
CREATE TRIGGER metering_windowgone_late BEFORE INSERT OR UPDATE ON metering_windowgone
FOR EACH ROW WHEN (NEW.hour < now() - interval '3 hours') EXECUTE FUNCTION metering_mark_late();
"""
BACKWARD = """
DROP TRIGGER metering_windowgone_late ON metering_windowgone;
DROP TRIGGER metering_window_late ON metering_window;
DROP FUNCTION metering_mark_late();
ALTER TABLE metering_windowgone DROP COLUMN late_xid;
ALTER TABLE metering_window DROP COLUMN late_xid;
"""


class Migration(migrations.Migration):
    dependencies = [("metering", "0011_store_begin")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
