"""Corrections: voids, jobs over stored events, and effects of an event that may change while its content may not."""

import apps.kernel.models
import django.contrib.postgres.fields
import django.db.models.deletion
import pgtrigger.compiler
import pgtrigger.migrations
from django.conf import settings
from django.db import migrations, models


FORWARD = """
-- What an event says never changes. What it counts for may, and only in a transaction that says that it means to.
CREATE OR REPLACE FUNCTION metering_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
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

-- Ids and moments of acceptance grow as the table does, so this finds single events at next to no cost for inserts.
CREATE INDEX metering_event_by_age ON metering_event USING brin (id, accepted_at)
    WITH (pages_per_range = 32, autosummarize = on);

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
"""

BACKWARD = """
DROP INDEX metering_deadletter_by_key;
DROP TABLE metering_windowgone;
DROP INDEX metering_event_by_age;
CREATE OR REPLACE FUNCTION metering_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'meter events never change; void them instead';
END $$;
"""


class Migration(migrations.Migration):

    dependencies = [
        ('catalog', '0002_initial'),
        ('metering', '0006_merge_counters'),
        ('organizations', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
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
            ],
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
            ],
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
            ],
        ),
        migrations.AddIndex(
            model_name='eventconflict',
            index=models.Index(fields=['organization', 'idempotency_key'], name='eventconflict_by_key'),
        ),
        migrations.AddField(
            model_name='backfilljob',
            name='metric',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='catalog.billablemetric'),
        ),
        migrations.AddField(
            model_name='backfilljob',
            name='organization',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization'),
        ),
        migrations.AddField(
            model_name='backfilljob',
            name='started_by',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='eventvoid',
            name='organization',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization'),
        ),
        migrations.AddField(
            model_name='eventvoid',
            name='subject',
            field=models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='metering.subject'),
        ),
        migrations.AddField(
            model_name='eventvoid',
            name='voided_by',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='voidjob',
            name='organization',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization'),
        ),
        migrations.AddField(
            model_name='voidjob',
            name='started_by',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='eventvoid',
            name='job',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='metering.voidjob'),
        ),
        migrations.AddIndex(
            model_name='backfilljob',
            index=models.Index(fields=['organization', '-id'], name='backfilljob_list'),
        ),
        migrations.AddConstraint(
            model_name='backfilljob',
            constraint=models.UniqueConstraint(condition=models.Q(('status__in', ['queued', 'running'])), fields=('metric',), name='backfilljob_one_at_a_time'),
        ),
        migrations.AddConstraint(
            model_name='backfilljob',
            constraint=models.CheckConstraint(condition=models.Q(('starts_at__isnull', True), ('ends_at__gt', models.F('starts_at')), ('ends_at__isnull', True), _connector='OR'), name='backfilljob_interval', violation_error_message='The end must be after the start.'),
        ),
        migrations.AddIndex(
            model_name='voidjob',
            index=models.Index(fields=['organization', '-id'], name='voidjob_list'),
        ),
        migrations.AddConstraint(
            model_name='voidjob',
            constraint=models.CheckConstraint(condition=models.Q(('reason', ''), _negated=True), name='voidjob_has_a_reason'),
        ),
        migrations.AddConstraint(
            model_name='voidjob',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('event_type', ''), _negated=True), models.Q(('source', ''), _negated=True), models.Q(('subject', ''), _negated=True), models.Q(('external_subject', ''), _negated=True), ('starts_at__isnull', False), ('ends_at__isnull', False), _connector='OR'), name='voidjob_has_a_filter', violation_error_message='Name at least one of type, source, subject, own id, start and end.'),
        ),
        migrations.AddConstraint(
            model_name='voidjob',
            constraint=models.CheckConstraint(condition=models.Q(('starts_at__isnull', True), ('ends_at__gt', models.F('starts_at')), ('ends_at__isnull', True), _connector='OR'), name='voidjob_interval', violation_error_message='The end must be after the start.'),
        ),
        migrations.AddIndex(
            model_name='eventvoid',
            index=models.Index(fields=['organization', '-id'], name='eventvoid_list'),
        ),
        migrations.AddIndex(
            model_name='eventvoid',
            index=models.Index(fields=['organization', 'idempotency_key'], name='eventvoid_by_key'),
        ),
        migrations.AddConstraint(
            model_name='eventvoid',
            constraint=models.UniqueConstraint(fields=('organization', 'event_id'), name='eventvoid_once'),
        ),
        migrations.AddConstraint(
            model_name='eventvoid',
            constraint=models.CheckConstraint(condition=models.Q(('reason', ''), _negated=True), name='eventvoid_has_a_reason'),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='eventvoid',
            trigger=pgtrigger.compiler.Trigger(name='voids_are_kept', sql=pgtrigger.compiler.UpsertTriggerSql(func="RAISE EXCEPTION 'pgtrigger: Cannot update or delete rows from % table', TG_TABLE_NAME;", hash='7fa02c64087d1b8790b2508061367ae5091bb5f3', operation='UPDATE OR DELETE', pgid='pgtrigger_voids_are_kept_c694a', table='metering_eventvoid', when='BEFORE')),
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
