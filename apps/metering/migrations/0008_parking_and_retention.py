"""Events of odd timing wait here; what is exported, dropped and forgotten is written down."""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('metering', '0007_corrections'),
    ]

    operations = [
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
    ]
