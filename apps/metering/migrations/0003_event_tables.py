"""The tables of the event path, which the ORM reads but does not shape: partitions, no foreign keys, own keys."""

from django.db import migrations

BUCKETS = 16

TABLES = f"""
CREATE TABLE metering_stagedevent (
    id bigint GENERATED ALWAYS AS IDENTITY,
    bucket smallint NOT NULL,
    organization_id bigint NOT NULL,
    key_hash uuid NOT NULL,
    content_hash uuid NOT NULL,
    public_id text NOT NULL,
    idempotency_key text NOT NULL,
    event_type text NOT NULL,
    source text NOT NULL,
    subject_id bigint NOT NULL,
    external_id text NOT NULL DEFAULT '',
    occurred_at timestamptz NOT NULL,
    accepted_at timestamptz NOT NULL,
    data jsonb NOT NULL,
    effects jsonb NOT NULL,
    -- Who wrote it: a reader waits until no row of its organization is visible in its own snapshot.
    xid xid8 NOT NULL DEFAULT pg_current_xact_id()
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50000);

CREATE TABLE metering_bucket (
    bucket smallint PRIMARY KEY
);
INSERT INTO metering_bucket SELECT generate_series(0, {BUCKETS - 1});

-- Every key ever accepted, for as long as raw events are kept: the memory that makes a repeat harmless.
CREATE TABLE metering_key (
    organization_id bigint NOT NULL,
    key_hash uuid NOT NULL,
    content_hash uuid NOT NULL,
    public_id text NOT NULL,
    accepted_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, key_hash)
) PARTITION BY HASH (organization_id, key_hash);

CREATE TABLE metering_event (
    id bigint GENERATED ALWAYS AS IDENTITY,
    public_id text NOT NULL,
    organization_id bigint NOT NULL,
    idempotency_key text NOT NULL,
    event_type text NOT NULL,
    source text NOT NULL,
    subject_id bigint NOT NULL,
    external_id text NOT NULL DEFAULT '',
    occurred_at timestamptz NOT NULL,
    accepted_at timestamptz NOT NULL,
    data jsonb NOT NULL,
    effects jsonb NOT NULL
) PARTITION BY RANGE (occurred_at);
CREATE TABLE metering_event_other PARTITION OF metering_event DEFAULT;
-- Serves the edge hours of a usage question.
CREATE INDEX metering_event_by_subject ON metering_event (organization_id, subject_id, occurred_at);
-- Serves the raw list of a metric, newest first.
CREATE INDEX metering_event_by_type ON metering_event (organization_id, event_type, occurred_at);

CREATE TABLE metering_window (
    id bigint GENERATED ALWAYS AS IDENTITY,
    organization_id bigint NOT NULL,
    metric_id bigint NOT NULL,
    subject_id bigint NOT NULL,
    hour timestamptz NOT NULL,
    dimension_id bigint,
    sum numeric(38, 9) NOT NULL,
    count bigint NOT NULL,
    min numeric(38, 9),
    max numeric(38, 9),
    latest numeric(38, 9),
    latest_at timestamptz NOT NULL,
    latest_event text NOT NULL,
    changed_at timestamptz NOT NULL,
    CONSTRAINT metering_window_once UNIQUE NULLS NOT DISTINCT (metric_id, subject_id, hour, dimension_id),
    CONSTRAINT metering_window_counts CHECK (count > 0)
);

-- The distinct values of a window of a UNIQUE_COUNT metric, as hashes.
CREATE TABLE metering_windowvalue (
    metric_id bigint NOT NULL,
    subject_id bigint NOT NULL,
    hour timestamptz NOT NULL,
    dimension_id bigint,
    value_hash uuid NOT NULL,
    CONSTRAINT metering_windowvalue_once
        UNIQUE NULLS NOT DISTINCT (metric_id, subject_id, hour, dimension_id, value_hash)
);

-- An event never changes.
CREATE FUNCTION metering_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'meter events never change; void them instead';
END $$;
CREATE TRIGGER metering_event_frozen BEFORE UPDATE ON metering_event
    FOR EACH ROW EXECUTE FUNCTION metering_refuse_change();
""" + "".join(
    f"CREATE TABLE metering_key_{n:02d} PARTITION OF metering_key"
    f" FOR VALUES WITH (MODULUS 16, REMAINDER {n});\n"
    for n in range(16)
)

DROP = """
DROP TABLE metering_stagedevent, metering_bucket, metering_key, metering_event, metering_window, metering_windowvalue;
DROP FUNCTION metering_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("metering", "0002_initial")]

    operations = [migrations.RunSQL(TABLES, DROP)]
