import apps.kernel.migrating
import apps.kernel.models
import django.contrib.postgres.constraints
import django.contrib.postgres.fields.ranges
import django.contrib.postgres.operations
import django.db.models.deletion
import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models


class Migration(migrations.Migration):

    replaces = [('customers', '0001_initial'), ('customers', '0002_initial'), ('customers', '0003_external_id_links'), ('customers', '0006_document_details'), ('customers', '0007_consolidation')]

    initial = True

    dependencies = [
        ('organizations', '0001_squashed_0005_consolidation'),
        ('pghistory', '0007_auto_20250421_0444'),
    ]

    operations = [
        django.contrib.postgres.operations.BtreeGistExtension(
        ),
        apps.kernel.migrating.CreateModels(
            operations=[
                migrations.CreateModel(
                    name='Customer',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('public_id', apps.kernel.models.PublicIdField(editable=False, max_length=40, unique=True)),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('external_id', models.CharField(blank=True, help_text="The merchant's own id; meter events may use it.", max_length=255, null=True)),
                        ('tax_id', models.CharField(blank=True, max_length=50)),
                        ('tax_rates', models.JSONField(blank=True, default=dict, help_text='Percent by plan id, metric id or "default".')),
                        ('timezone', models.CharField(blank=True, help_text="Empty: the merchant's.", max_length=64)),
                        ('notify_invoice_issued', models.BooleanField(default=True)),
                        ('notify_invoice_paid', models.BooleanField(default=True)),
                        ('notify_renewal', models.BooleanField(default=True)),
                        ('deleted_at', models.DateTimeField(blank=True, null=True)),
                        ('consumer', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
                        ('billing_reference', models.CharField(blank=True, help_text='What it wants to find on its invoices.', max_length=100)),
                        ('zero_tax_note', models.CharField(blank=True, help_text='The rule that says so, as documents quote it.', max_length=255)),
                        ('zero_tax_reason', models.CharField(blank=True, choices=[('Z', 'Zero rated'), ('E', 'Exempt'), ('AE', 'Reverse charge'), ('O', 'Not subject to tax')], help_text='Why lines without tax have none; e-invoices ask for it.', max_length=2)),
                        ('consolidate_invoices', models.BooleanField(blank=True, help_text='Empty: as the merchant does.', null=True)),
                    ],
                    options={
                        'indexes': [models.Index(fields=['organization', '-id'], name='customer_list')],
                        'constraints': [models.UniqueConstraint(condition=models.Q(('deleted_at__isnull', True)), fields=('organization', 'consumer'), name='customer_once_per_consumer'), models.UniqueConstraint(condition=models.Q(('deleted_at__isnull', True), ('external_id__isnull', False)), fields=('organization', 'external_id'), name='customer_external_id_once'), models.CheckConstraint(condition=models.Q(('external_id', ''), _negated=True), name='customer_external_id_filled'), models.CheckConstraint(condition=models.Q(('organization', models.F('consumer')), _negated=True), name='customer_is_not_its_merchant'), models.CheckConstraint(condition=models.Q(('zero_tax_reason__in', ['', 'Z', 'E', 'AE', 'O'])), name='customer_zero_tax_reason_known')],
                    },
                ),
                migrations.CreateModel(
                    name='CustomerEvent',
                    fields=[
                        ('pgh_id', models.AutoField(primary_key=True, serialize=False)),
                        ('pgh_created_at', models.DateTimeField(auto_now_add=True)),
                        ('pgh_label', models.TextField(help_text='The event label.')),
                        ('id', models.BigIntegerField()),
                        ('public_id', apps.kernel.models.PublicIdField(editable=False, max_length=40)),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('external_id', models.CharField(blank=True, help_text="The merchant's own id; meter events may use it.", max_length=255, null=True)),
                        ('tax_id', models.CharField(blank=True, max_length=50)),
                        ('tax_rates', models.JSONField(blank=True, default=dict, help_text='Percent by plan id, metric id or "default".')),
                        ('timezone', models.CharField(blank=True, help_text="Empty: the merchant's.", max_length=64)),
                        ('notify_invoice_issued', models.BooleanField(default=True)),
                        ('notify_invoice_paid', models.BooleanField(default=True)),
                        ('notify_renewal', models.BooleanField(default=True)),
                        ('deleted_at', models.DateTimeField(blank=True, null=True)),
                        ('consumer', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', related_query_name='+', to='organizations.organization')),
                        ('organization', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', related_query_name='+', to='organizations.organization')),
                        ('pgh_context', models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='pghistory.context')),
                        ('pgh_obj', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='events', to='customers.customer')),
                        ('billing_reference', models.CharField(blank=True, help_text='What it wants to find on its invoices.', max_length=100)),
                        ('zero_tax_note', models.CharField(blank=True, help_text='The rule that says so, as documents quote it.', max_length=255)),
                        ('zero_tax_reason', models.CharField(blank=True, choices=[('Z', 'Zero rated'), ('E', 'Exempt'), ('AE', 'Reverse charge'), ('O', 'Not subject to tax')], help_text='Why lines without tax have none; e-invoices ask for it.', max_length=2)),
                        ('consolidate_invoices', models.BooleanField(blank=True, help_text='Empty: as the merchant does.', null=True)),
                    ],
                    options={
                        'abstract': False,
                    },
                ),
                migrations.CreateModel(
                    name='ExternalIdLink',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('external_id', models.CharField(max_length=255)),
                        ('valid', django.contrib.postgres.fields.ranges.DateTimeRangeField(help_text='Half-open; an open end has no bound.')),
                        ('customer', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='external_id_links', to='customers.customer')),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
                    ],
                    options={
                        'constraints': [django.contrib.postgres.constraints.ExclusionConstraint(expressions=[('organization', '='), ('external_id', '='), ('valid', '&&')], name='externalidlink_one_customer_at_a_time'), models.CheckConstraint(condition=models.Q(('valid__isempty', False)), name='externalidlink_is_an_interval'), models.UniqueConstraint(condition=models.Q(('valid__upper_inf', True)), fields=('customer',), name='externalidlink_one_open')],
                    },
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='customer',
                    trigger=pgtrigger.compiler.Trigger(name='insert_insert', sql=pgtrigger.compiler.UpsertTriggerSql(func='INSERT INTO "customers_customerevent" ("billing_reference", "consolidate_invoices", "consumer_id", "created_at", "deleted_at", "external_id", "id", "notify_invoice_issued", "notify_invoice_paid", "notify_renewal", "organization_id", "pgh_context_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "public_id", "tax_id", "tax_rates", "timezone", "updated_at", "zero_tax_note", "zero_tax_reason") VALUES (NEW."billing_reference", NEW."consolidate_invoices", NEW."consumer_id", NEW."created_at", NEW."deleted_at", NEW."external_id", NEW."id", NEW."notify_invoice_issued", NEW."notify_invoice_paid", NEW."notify_renewal", NEW."organization_id", _pgh_attach_context(), NOW(), \'insert\', NEW."id", NEW."public_id", NEW."tax_id", NEW."tax_rates", NEW."timezone", NEW."updated_at", NEW."zero_tax_note", NEW."zero_tax_reason"); RETURN NULL;', hash='d85b96c7e5970536d2c74429a089fedf476f9829', operation='INSERT', pgid='pgtrigger_insert_insert_a36e0', table='customers_customer', when='AFTER')),
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='customer',
                    trigger=pgtrigger.compiler.Trigger(name='update_update', sql=pgtrigger.compiler.UpsertTriggerSql(condition='WHEN (OLD.* IS DISTINCT FROM NEW.*)', func='INSERT INTO "customers_customerevent" ("billing_reference", "consolidate_invoices", "consumer_id", "created_at", "deleted_at", "external_id", "id", "notify_invoice_issued", "notify_invoice_paid", "notify_renewal", "organization_id", "pgh_context_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "public_id", "tax_id", "tax_rates", "timezone", "updated_at", "zero_tax_note", "zero_tax_reason") VALUES (NEW."billing_reference", NEW."consolidate_invoices", NEW."consumer_id", NEW."created_at", NEW."deleted_at", NEW."external_id", NEW."id", NEW."notify_invoice_issued", NEW."notify_invoice_paid", NEW."notify_renewal", NEW."organization_id", _pgh_attach_context(), NOW(), \'update\', NEW."id", NEW."public_id", NEW."tax_id", NEW."tax_rates", NEW."timezone", NEW."updated_at", NEW."zero_tax_note", NEW."zero_tax_reason"); RETURN NULL;', hash='6b29f1b02e78653e8f5eb529ace81777e550df65', operation='UPDATE', pgid='pgtrigger_update_update_ca86d', table='customers_customer', when='AFTER')),
                ),
            ],
        ),
    ]
