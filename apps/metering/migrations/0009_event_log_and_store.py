"""What the optional event log and event store remember in the database."""

from django.db import migrations

FORWARD = """
-- Blocks of the event log that are in staging, so that one that comes again is not staged again. A row goes when the
-- log has noted the acknowledgement of everything up to it.
CREATE TABLE metering_logblock (
    block_id uuid PRIMARY KEY,
    stream text NOT NULL,
    sequence bigint NOT NULL
);
CREATE INDEX metering_logblock_by_place ON metering_logblock (stream, sequence);

-- How far the relay to an event store is. Up to `candidate` events are numbered by transactions before
-- `candidate_until`; once these have ended, nothing can appear there any more.
CREATE TABLE metering_storeposition (
    store text PRIMARY KEY,
    position bigint NOT NULL,
    candidate bigint,
    candidate_until xid8,
    CONSTRAINT metering_storeposition_not_negative CHECK (position >= 0)
);

-- Stored events whose effects changed after they were numbered, until the relay has carried that over as well.
CREATE TABLE metering_storechange (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id bigint NOT NULL,
    organization_id bigint NOT NULL,
    subject_id bigint NOT NULL,
    event_type text NOT NULL,
    occurred_at timestamptz NOT NULL
);
-- Serves a question that has to know which of its events ClickHouse has in an older version.
CREATE INDEX metering_storechange_by_time ON metering_storechange (organization_id, occurred_at);

CREATE FUNCTION metering_note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Nobody reads it where there is no relay.
    IF EXISTS (SELECT FROM metering_storeposition) THEN
        INSERT INTO metering_storechange (id, organization_id, subject_id, event_type, occurred_at)
        SELECT id, organization_id, subject_id, event_type, occurred_at FROM changed ORDER BY id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER metering_event_changed AFTER UPDATE ON metering_event
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION metering_note_change();
"""

BACKWARD = """
DROP TRIGGER metering_event_changed ON metering_event;
DROP FUNCTION metering_note_change();
DROP TABLE metering_storechange, metering_storeposition, metering_logblock;
"""


class Migration(migrations.Migration):
    dependencies = [("metering", "0008_parking_and_retention")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
