import apps.kernel.migrating
import apps.kernel.models
import django.contrib.postgres.fields
import django.db.models.deletion
import pgtrigger.compiler
import pgtrigger.migrations
from django.conf import settings
from django.db import migrations, models

# The tables of the event path, which the ORM reads but does not shape: partitions, no foreign keys, own keys.
BUCKETS = 4
KEY_PARTITIONS = 16

TABLES = """
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
    -- What it counts for, position by position: metric, dimension (NULL without groups), quantity, and the hash of
    -- the value for distinct counting (NULL altogether when no metric needs one).
    metrics bigint[] NOT NULL,
    dimensions bigint[] NOT NULL,
    quantities numeric[] NOT NULL,
    hashes uuid[],
    -- Who wrote it: a reader waits until no row of its organization is visible in its own snapshot.
    xid xid8 NOT NULL DEFAULT pg_current_xact_id()
) PARTITION BY LIST (bucket);

-- What the merges did so far is kept with the rows that they lock anyway.
CREATE TABLE metering_bucket (
    bucket smallint PRIMARY KEY,
    merged bigint NOT NULL DEFAULT 0,
    repeated bigint NOT NULL DEFAULT 0,
    conflicts bigint NOT NULL DEFAULT 0,
    busy_seconds numeric(20, 6) NOT NULL DEFAULT 0,
    merged_at timestamptz
);

-- Every key ever accepted, for as long as raw events are kept: the memory that makes a repeat harmless. A key's hash
-- covers its merchant.
CREATE TABLE metering_key (
    organization_id bigint NOT NULL,
    key_hash uuid NOT NULL,
    content_hash uuid NOT NULL,
    public_id text NOT NULL,
    accepted_at timestamptz NOT NULL,
    CONSTRAINT metering_key_once PRIMARY KEY (key_hash)
) PARTITION BY HASH (key_hash);

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
    metrics bigint[] NOT NULL,
    dimensions bigint[] NOT NULL,
    quantities numeric[] NOT NULL,
    hashes uuid[]
) PARTITION BY RANGE (occurred_at);
CREATE TABLE metering_event_other PARTITION OF metering_event DEFAULT;
-- Serves the edge hours of a usage question.
CREATE INDEX metering_event_by_subject ON metering_event (subject_id, occurred_at);
-- Serves the raw list of a metric, newest first.
CREATE INDEX metering_event_by_type ON metering_event (organization_id, event_type, occurred_at);
-- Ids and moments of acceptance grow as the table does, so this finds single events at next to no cost for inserts.
CREATE INDEX metering_event_by_age ON metering_event USING brin (id, accepted_at)
    WITH (pages_per_range = 32, autosummarize = on);

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
    -- Only LATEST metrics need to know which event was the last.
    latest numeric(38, 9),
    latest_at timestamptz,
    latest_event text,
    changed_at timestamptz NOT NULL,
    -- Values have nine places and seconds six. Metrics of another aggregation have none, which costs nothing.
    moment numeric,
    CONSTRAINT metering_window_once UNIQUE NULLS NOT DISTINCT (metric_id, subject_id, hour, dimension_id),
    CONSTRAINT metering_window_counts CHECK (count > 0)
    -- A window is updated again and again: room on its page keeps its index out of it.
) WITH (fillfactor = 60);

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

-- Windows that a correction emptied, so that a period that was billed notices.
CREATE TABLE metering_windowgone (
    metric_id bigint NOT NULL,
    subject_id bigint NOT NULL,
    hour timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (metric_id, subject_id, hour)
);

-- Serves the verdict on a key whose event could not be merged.
CREATE INDEX metering_deadletter_by_key ON metering_deadletter (organization_id, (payload ->> 'idempotencyKey'))
    WHERE stage = 'merge';

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
    -- Raw events from before this were dropped when the store began to be filled; null when there were none.
    holds_from timestamptz,
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

-- What an event says never changes. What it counts for may, and only in a transaction that says that it means to.
CREATE FUNCTION metering_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    content record;
BEGIN
    content := NEW;
    content.metrics := OLD.metrics;
    content.dimensions := OLD.dimensions;
    content.quantities := OLD.quantities;
    content.hashes := OLD.hashes;
    IF coalesce(current_setting('metergate.effects', true), '') <> 'on' OR content *<> OLD THEN
        RAISE EXCEPTION 'meter events never change; void them instead';
    END IF;
    IF cardinality(NEW.metrics) > 0 AND EXISTS (
        SELECT FROM metering_eventvoid WHERE organization_id = NEW.organization_id AND event_id = NEW.public_id
    ) THEN
        RAISE EXCEPTION 'a voided event counts for nothing';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER metering_event_frozen BEFORE UPDATE ON metering_event
    FOR EACH ROW EXECUTE FUNCTION metering_refuse_change();

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
""" + "".join(
    f"CREATE TABLE metering_staged_{n} PARTITION OF metering_stagedevent FOR VALUES IN ({n})"
    " WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50000,"
    " autovacuum_vacuum_insert_threshold = -1, vacuum_truncate = false);\n"
    f"INSERT INTO metering_bucket (bucket) VALUES ({n});\n"
    for n in range(BUCKETS)
) + "".join(
    f"CREATE TABLE metering_key_p{n:02d} PARTITION OF metering_key"
    f" FOR VALUES WITH (MODULUS {KEY_PARTITIONS}, REMAINDER {n});\n"
    for n in range(KEY_PARTITIONS)
)

DROP = """
DROP TABLE metering_stagedevent, metering_bucket, metering_key, metering_event, metering_window, metering_windowvalue,
    metering_windowgone, metering_logblock, metering_storeposition, metering_storechange;
DROP INDEX metering_deadletter_by_key;
DROP FUNCTION metering_refuse_change(), metering_note_change();
"""


class Migration(migrations.Migration):

    replaces = [('metering', '0001_initial'), ('metering', '0002_initial'), ('metering', '0003_event_tables'), ('metering', '0004_effects_as_arrays'), ('metering', '0005_narrow_indexes'), ('metering', '0006_merge_counters'), ('metering', '0007_corrections'), ('metering', '0008_parking_and_retention'), ('metering', '0009_event_log_and_store'), ('metering', '0010_window_moment'), ('metering', '0011_store_begin')]

    initial = True

    dependencies = [
        ('catalog', '0001_squashed_0018_pricing_units'),
        ('organizations', '0001_squashed_0005_consolidation'),
    ]

    operations = [
        apps.kernel.migrating.CreateModels(
            operations=[
                migrations.CreateModel(
                    name='MeterEvent',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('public_id', models.CharField(max_length=40)),
                        ('organization_id', models.BigIntegerField()),
                        ('idempotency_key', models.CharField(max_length=255)),
                        ('event_type', models.CharField(max_length=255)),
                        ('source', models.CharField(max_length=255)),
                        ('subject_id', models.BigIntegerField()),
                        ('external_id', models.CharField(blank=True, max_length=255)),
                        ('occurred_at', models.DateTimeField()),
                        ('accepted_at', models.DateTimeField()),
                        ('data', models.JSONField()),
                        ('effects', models.JSONField()),
                    ],
                    options={
                        'db_table': 'metering_event',
                        'managed': False,
                    },
                ),
                migrations.CreateModel(
                    name='StagedEvent',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('public_id', models.CharField(max_length=40)),
                        ('organization_id', models.BigIntegerField()),
                        ('idempotency_key', models.CharField(max_length=255)),
                        ('event_type', models.CharField(max_length=255)),
                        ('source', models.CharField(max_length=255)),
                        ('subject_id', models.BigIntegerField()),
                        ('external_id', models.CharField(blank=True, max_length=255)),
                        ('occurred_at', models.DateTimeField()),
                        ('accepted_at', models.DateTimeField()),
                        ('data', models.JSONField()),
                        ('effects', models.JSONField()),
                        ('bucket', models.SmallIntegerField()),
                        ('key_hash', models.UUIDField()),
                        ('content_hash', models.UUIDField()),
                    ],
                    options={
                        'db_table': 'metering_stagedevent',
                        'managed': False,
                    },
                ),
                migrations.CreateModel(
                    name='UsageWindow',
                    fields=[
                        ('id', models.BigIntegerField(primary_key=True, serialize=False)),
                        ('organization_id', models.BigIntegerField()),
                        ('hour', models.DateTimeField()),
                        ('sum', models.DecimalField(decimal_places=9, max_digits=38)),
                        ('count', models.BigIntegerField()),
                        ('min', models.DecimalField(decimal_places=9, max_digits=38, null=True)),
                        ('max', models.DecimalField(decimal_places=9, max_digits=38, null=True)),
                        ('latest', models.DecimalField(decimal_places=9, max_digits=38, null=True)),
                        ('latest_at', models.DateTimeField()),
                        ('changed_at', models.DateTimeField()),
                    ],
                    options={
                        'db_table': 'metering_window',
                        'managed': False,
                    },
                ),
                migrations.CreateModel(
                    name='DeadLetter',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('stage', models.CharField(max_length=20)),
                        ('code', models.CharField(max_length=40)),
                        ('message', models.TextField()),
                        ('payload', models.JSONField()),
                        ('created_at', models.DateTimeField()),
                        ('resolved_at', models.DateTimeField(blank=True, null=True)),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
                    ],
                    options={
                        'indexes': [models.Index(fields=['organization', '-id'], name='deadletter_list'), models.Index(condition=models.Q(('resolved_at__isnull', True)), fields=['-id'], name='deadletter_open')],
                    },
                ),
                migrations.CreateModel(
                    name='Dimension',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('digest', models.UUIDField(help_text='128-bit hash of the values, in key order.')),
                        ('values', models.JSONField()),
                        ('metric', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='catalog.billablemetric')),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
                    ],
                    options={
                        'constraints': [models.UniqueConstraint(fields=('metric', 'digest'), name='dimension_once')],
                    },
                ),
                migrations.CreateModel(
                    name='EventConflict',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('idempotency_key', models.CharField(max_length=255)),
                        ('first_event_id', models.CharField(max_length=40)),
                        ('content', models.JSONField(help_text='What the later event said.')),
                        ('detected_at', models.DateTimeField()),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
                    ],
                    options={
                        'indexes': [models.Index(fields=['organization', '-id'], name='eventconflict_list'), models.Index(fields=['organization', 'idempotency_key'], name='eventconflict_by_key')],
                    },
                ),
                migrations.CreateModel(
                    name='ImportJob',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('path', models.CharField(max_length=1000)),
                        ('fingerprint', models.CharField(help_text="Hash of the file's content and of the mapping.", max_length=64)),
                        ('status', models.CharField(choices=[('running', 'Running'), ('stopped', 'Stopped'), ('done', 'Done')], default='running', max_length=7)),
                        ('lines_read', models.BigIntegerField(default=0)),
                        ('accepted', models.BigIntegerField(default=0)),
                        ('rejected', models.BigIntegerField(default=0)),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
                    ],
                    options={
                        'constraints': [models.UniqueConstraint(fields=('organization', 'fingerprint'), name='importjob_once')],
                    },
                ),
                migrations.CreateModel(
                    name='Subject',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('is_external', models.BooleanField(help_text="The merchant's own id rather than ours.")),
                        ('value', models.CharField(max_length=255)),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
                    ],
                    options={
                        'constraints': [models.UniqueConstraint(fields=('organization', 'is_external', 'value'), name='subject_once')],
                    },
                ),
                migrations.CreateModel(
                    name='BackfillJob',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('public_id', apps.kernel.models.PublicIdField(editable=False, max_length=40, unique=True)),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('status', models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('stopped', 'Stopped')], default='queued', max_length=7)),
                        ('starts_at', models.DateTimeField(blank=True, help_text='Only events from this moment on.', null=True)),
                        ('ends_at', models.DateTimeField(blank=True, help_text='Only events before this moment.', null=True)),
                        ('accepted_before', models.DateTimeField()),
                        ('total', models.BigIntegerField(blank=True, null=True)),
                        ('seen', models.BigIntegerField(default=0)),
                        ('changed', models.BigIntegerField(default=0)),
                        ('last_type', models.CharField(blank=True, max_length=255)),
                        ('last_at', models.DateTimeField(blank=True, null=True)),
                        ('last_key', models.BigIntegerField(default=0)),
                        ('failure', models.TextField(blank=True)),
                        ('finished_at', models.DateTimeField(blank=True, null=True)),
                        ('definition', models.JSONField(help_text="The metric's definition that is applied; another one stops the job.")),
                        ('unusable', models.BigIntegerField(default=0, help_text='Events whose value the metric cannot use.')),
                        ('first_problem', models.TextField(blank=True)),
                        ('metric', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='catalog.billablemetric')),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
                        ('started_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ],
                    options={
                        'indexes': [models.Index(fields=['organization', '-id'], name='backfilljob_list')],
                        'constraints': [models.UniqueConstraint(condition=models.Q(('status__in', ['queued', 'running'])), fields=('metric',), name='backfilljob_one_at_a_time'), models.CheckConstraint(condition=models.Q(('starts_at__isnull', True), ('ends_at__gt', models.F('starts_at')), ('ends_at__isnull', True), _connector='OR'), name='backfilljob_interval', violation_error_message='The end must be after the start.')],
                    },
                ),
                migrations.CreateModel(
                    name='EventVoid',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('event_id', models.CharField(help_text="The event's id on the wire.", max_length=40)),
                        ('idempotency_key', models.CharField(max_length=255)),
                        ('event_type', models.CharField(max_length=255)),
                        ('occurred_at', models.DateTimeField()),
                        ('reason', models.CharField(max_length=1000)),
                        ('voided_at', models.DateTimeField()),
                        ('metrics', django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), help_text='Keys of the metrics it counted for.', size=None)),
                        ('quantities', django.contrib.postgres.fields.ArrayField(base_field=models.DecimalField(decimal_places=9, max_digits=38), help_text='How much, in the same order.', size=None)),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
                        ('subject', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='metering.subject')),
                        ('voided_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                        ('job', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='metering.voidjob')),
                    ],
                    options={
                        'indexes': [models.Index(fields=['organization', '-id'], name='eventvoid_list'), models.Index(fields=['organization', 'idempotency_key'], name='eventvoid_by_key')],
                        'constraints': [models.UniqueConstraint(fields=('organization', 'event_id'), name='eventvoid_once'), models.CheckConstraint(condition=models.Q(('reason', ''), _negated=True), name='eventvoid_has_a_reason')],
                    },
                ),
                migrations.CreateModel(
                    name='VoidJob',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('public_id', apps.kernel.models.PublicIdField(editable=False, max_length=40, unique=True)),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('status', models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('stopped', 'Stopped')], default='queued', max_length=7)),
                        ('starts_at', models.DateTimeField(blank=True, help_text='Only events from this moment on.', null=True)),
                        ('ends_at', models.DateTimeField(blank=True, help_text='Only events before this moment.', null=True)),
                        ('accepted_before', models.DateTimeField()),
                        ('total', models.BigIntegerField(blank=True, null=True)),
                        ('seen', models.BigIntegerField(default=0)),
                        ('changed', models.BigIntegerField(default=0)),
                        ('last_type', models.CharField(blank=True, max_length=255)),
                        ('last_at', models.DateTimeField(blank=True, null=True)),
                        ('last_key', models.BigIntegerField(default=0)),
                        ('failure', models.TextField(blank=True)),
                        ('finished_at', models.DateTimeField(blank=True, null=True)),
                        ('reason', models.CharField(max_length=1000)),
                        ('event_type', models.CharField(blank=True, max_length=255)),
                        ('source', models.CharField(blank=True, max_length=255)),
                        ('subject', models.CharField(blank=True, help_text="The customer's id.", max_length=255)),
                        ('external_subject', models.CharField(blank=True, help_text="The merchant's own id for it.", max_length=255)),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
                        ('started_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ],
                    options={
                        'indexes': [models.Index(fields=['organization', '-id'], name='voidjob_list')],
                        'constraints': [models.CheckConstraint(condition=models.Q(('reason', ''), _negated=True), name='voidjob_has_a_reason'), models.CheckConstraint(condition=models.Q(models.Q(('event_type', ''), _negated=True), models.Q(('source', ''), _negated=True), models.Q(('subject', ''), _negated=True), models.Q(('external_subject', ''), _negated=True), ('starts_at__isnull', False), ('ends_at__isnull', False), _connector='OR'), name='voidjob_has_a_filter', violation_error_message='Name at least one of type, source, subject, own id, start and end.'), models.CheckConstraint(condition=models.Q(('starts_at__isnull', True), ('ends_at__gt', models.F('starts_at')), ('ends_at__isnull', True), _connector='OR'), name='voidjob_interval', violation_error_message='The end must be after the start.')],
                    },
                ),
                migrations.CreateModel(
                    name='EventExport',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('month', models.DateField(help_text='Its first day, UTC.')),
                        ('number', models.PositiveSmallIntegerField(help_text='A month that was dropped and got events again starts anew.')),
                        ('folder', models.CharField(max_length=1000)),
                        ('manifest_sha256', models.CharField(max_length=64)),
                        ('row_count', models.BigIntegerField()),
                        ('digest', models.DecimalField(decimal_places=0, help_text="Sum over the lines' hashes.", max_digits=38)),
                        ('exported_at', models.DateTimeField()),
                        ('verified_at', models.DateTimeField(blank=True, help_text='Files read back and found whole.', null=True)),
                        ('dropped_at', models.DateTimeField(blank=True, null=True)),
                    ],
                    options={
                        'constraints': [models.UniqueConstraint(fields=('month', 'number'), name='eventexport_once'), models.UniqueConstraint(condition=models.Q(('dropped_at__isnull', True)), fields=('month',), name='eventexport_one_current'), models.CheckConstraint(condition=models.Q(('verified_at__isnull', True), ('verified_at__gte', models.F('exported_at')), _connector='OR'), name='eventexport_verified_after_export')],
                    },
                ),
                migrations.CreateModel(
                    name='ParkedEvent',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('public_id', models.CharField(max_length=40)),
                        ('organization_id', models.BigIntegerField()),
                        ('idempotency_key', models.CharField(max_length=255)),
                        ('event_type', models.CharField(max_length=255)),
                        ('source', models.CharField(max_length=255)),
                        ('subject_id', models.BigIntegerField()),
                        ('external_id', models.CharField(blank=True, max_length=255)),
                        ('occurred_at', models.DateTimeField()),
                        ('accepted_at', models.DateTimeField()),
                        ('data', models.JSONField()),
                        ('metrics', django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None)),
                        ('dimensions', django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(null=True), size=None)),
                        ('quantities', django.contrib.postgres.fields.ArrayField(base_field=models.DecimalField(decimal_places=9, max_digits=38), size=None)),
                        ('hashes', django.contrib.postgres.fields.ArrayField(base_field=models.UUIDField(null=True), null=True, size=None)),
                        ('key_hash', models.UUIDField()),
                        ('content_hash', models.UUIDField()),
                        ('reason', models.CharField(choices=[('too_late', 'Too late'), ('too_early', 'Too early')], max_length=9)),
                        ('state', models.CharField(choices=[('parked', 'Parked'), ('released', 'Released'), ('discarded', 'Discarded')], default='parked', max_length=9)),
                        ('settled_at', models.DateTimeField(blank=True, help_text='When it was released or discarded.', null=True)),
                        ('settled_by', models.CharField(blank=True, max_length=255)),
                        ('note', models.TextField(blank=True, help_text='Why it was released or discarded.')),
                    ],
                    options={
                        'indexes': [models.Index(fields=['organization_id', '-id'], name='parkedevent_list'), models.Index(condition=models.Q(('state', 'parked')), fields=['organization_id', 'id'], name='parkedevent_open'), models.Index(condition=models.Q(('reason', 'too_early'), ('state', 'parked')), fields=['occurred_at'], name='parkedevent_early')],
                        'constraints': [models.CheckConstraint(condition=models.Q(('reason__in', ['too_late', 'too_early'])), name='parkedevent_reason_known'), models.CheckConstraint(condition=models.Q(('state__in', ['parked', 'released', 'discarded'])), name='parkedevent_state_known'), models.CheckConstraint(condition=models.Q(models.Q(('settled_at__isnull', True), ('state', 'parked')), models.Q(models.Q(('state', 'parked'), _negated=True), ('settled_at__isnull', False)), _connector='OR'), name='parkedevent_settled_has_instant'), models.UniqueConstraint(fields=('public_id',), name='parkedevent_id_once'), models.UniqueConstraint(fields=('organization_id', 'key_hash', 'content_hash'), name='parkedevent_content_once')],
                    },
                ),
                migrations.CreateModel(
                    name='Retention',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('raw_gone_until', models.DateTimeField(help_text='Raw events that happened before this are dropped.', null=True)),
                        ('keys_gone_until', models.DateTimeField(help_text='Keys accepted before this may be forgotten.', null=True)),
                    ],
                    options={
                        'constraints': [models.CheckConstraint(condition=models.Q(('id', 1)), name='retention_is_one_row')],
                    },
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='eventvoid',
                    trigger=pgtrigger.compiler.Trigger(name='voids_are_kept', sql=pgtrigger.compiler.UpsertTriggerSql(func="RAISE EXCEPTION 'pgtrigger: Cannot update or delete rows from % table', TG_TABLE_NAME;", hash='7fa02c64087d1b8790b2508061367ae5091bb5f3', operation='UPDATE OR DELETE', pgid='pgtrigger_voids_are_kept_c694a', table='metering_eventvoid', when='BEFORE')),
                ),
            ],
        ),
        migrations.RunSQL(TABLES, DROP),
    ]
