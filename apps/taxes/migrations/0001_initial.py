import apps.kernel.migrating
import apps.kernel.models
import django.contrib.postgres.constraints
import django.contrib.postgres.fields
import django.contrib.postgres.fields.ranges
import django.db.models.deletion
import django.db.models.functions.comparison
import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('customers', '0007_consolidation'),
        ('organizations', '0005_consolidation'),
        ('pghistory', '0007_auto_20250421_0444'),
    ]

    operations = [
        apps.kernel.migrating.CreateModels(
            operations=[
                migrations.CreateModel(
                    name='TaxCategory',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('public_id', apps.kernel.models.PublicIdField(editable=False, max_length=40, unique=True)),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('code', models.CharField(help_text='As the tax code of plans, metrics and fees says it.', max_length=30)),
                        ('name', models.CharField(max_length=255)),
                        ('is_exempt', models.BooleanField(default=False, help_text='Exempt wherever it is taxed.')),
                        ('is_goods', models.BooleanField(default=False, help_text='It is shipped: leaving the country it is an export or a supply within the EU.')),
                        ('reason', models.CharField(blank=True, help_text='The rule that exempts it, as documents quote it.', max_length=255)),
                        ('reason_code', models.CharField(blank=True, help_text='Its code on e-invoices, such as VATEX-EU-132-1I.', max_length=30)),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
                    ],
                    options={
                        'verbose_name_plural': 'tax categories',
                        'constraints': [models.UniqueConstraint(fields=('organization', 'code'), name='taxcategory_code_once'), models.CheckConstraint(condition=models.Q(('code__regex', '^[a-z0-9][a-z0-9_-]*$')), name='taxcategory_code_is_slug'), models.CheckConstraint(condition=models.Q(models.Q(('is_exempt', True), models.Q(('reason', ''), _negated=True)), models.Q(('is_exempt', False), ('reason', ''), ('reason_code', '')), _connector='OR'), name='taxcategory_exempt_has_reason')],
                    },
                ),
                migrations.CreateModel(
                    name='TaxCategoryEvent',
                    fields=[
                        ('pgh_id', models.AutoField(primary_key=True, serialize=False)),
                        ('pgh_created_at', models.DateTimeField(auto_now_add=True)),
                        ('pgh_label', models.TextField(help_text='The event label.')),
                        ('id', models.BigIntegerField()),
                        ('public_id', apps.kernel.models.PublicIdField(editable=False, max_length=40)),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('code', models.CharField(help_text='As the tax code of plans, metrics and fees says it.', max_length=30)),
                        ('name', models.CharField(max_length=255)),
                        ('is_exempt', models.BooleanField(default=False, help_text='Exempt wherever it is taxed.')),
                        ('is_goods', models.BooleanField(default=False, help_text='It is shipped: leaving the country it is an export or a supply within the EU.')),
                        ('reason', models.CharField(blank=True, help_text='The rule that exempts it, as documents quote it.', max_length=255)),
                        ('reason_code', models.CharField(blank=True, help_text='Its code on e-invoices, such as VATEX-EU-132-1I.', max_length=30)),
                        ('organization', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', related_query_name='+', to='organizations.organization')),
                        ('pgh_context', models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='pghistory.context')),
                        ('pgh_obj', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='events', to='taxes.taxcategory')),
                    ],
                    options={
                        'abstract': False,
                    },
                ),
                migrations.CreateModel(
                    name='TaxExemption',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('public_id', apps.kernel.models.PublicIdField(editable=False, max_length=40, unique=True)),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('country', models.CharField(blank=True, help_text='Empty: everywhere.', max_length=2)),
                        ('region', models.CharField(blank=True, help_text='Empty: the whole country.', max_length=20)),
                        ('category', models.CharField(choices=[('Z', 'Zero rated'), ('E', 'Exempt'), ('AE', 'Reverse charge'), ('O', 'Not subject to tax')], default='E', max_length=2)),
                        ('certificate', models.CharField(blank=True, help_text='Number of the document that shows it.', max_length=100)),
                        ('reason', models.CharField(help_text='The rule that says so, as documents quote it.', max_length=255)),
                        ('valid', django.contrib.postgres.fields.ranges.DateRangeField(help_text='Days; the last one is not in it.')),
                        ('customer', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='tax_exemptions', to='customers.customer')),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
                    ],
                    options={
                        'indexes': [models.Index(fields=['organization', '-id'], name='taxexemption_list')],
                        'constraints': [django.contrib.postgres.constraints.ExclusionConstraint(expressions=[('customer', '='), ('country', '='), ('region', '='), ('valid', '&&')], name='taxexemption_one_at_a_time'), models.CheckConstraint(condition=models.Q(('valid__isempty', False)), name='taxexemption_valid_some_day'), models.CheckConstraint(condition=models.Q(models.Q(('country', ''), ('region', '')), ('country__regex', '^[A-Z]{2}$'), _connector='OR'), name='taxexemption_country_is_code'), models.CheckConstraint(condition=models.Q(('reason', ''), _negated=True), name='taxexemption_says_why'), models.CheckConstraint(condition=models.Q(('category__in', ['Z', 'E', 'AE', 'O'])), name='taxexemption_category_known')],
                    },
                ),
                migrations.CreateModel(
                    name='TaxExemptionEvent',
                    fields=[
                        ('pgh_id', models.AutoField(primary_key=True, serialize=False)),
                        ('pgh_created_at', models.DateTimeField(auto_now_add=True)),
                        ('pgh_label', models.TextField(help_text='The event label.')),
                        ('id', models.BigIntegerField()),
                        ('public_id', apps.kernel.models.PublicIdField(editable=False, max_length=40)),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('country', models.CharField(blank=True, help_text='Empty: everywhere.', max_length=2)),
                        ('region', models.CharField(blank=True, help_text='Empty: the whole country.', max_length=20)),
                        ('category', models.CharField(choices=[('Z', 'Zero rated'), ('E', 'Exempt'), ('AE', 'Reverse charge'), ('O', 'Not subject to tax')], default='E', max_length=2)),
                        ('certificate', models.CharField(blank=True, help_text='Number of the document that shows it.', max_length=100)),
                        ('reason', models.CharField(help_text='The rule that says so, as documents quote it.', max_length=255)),
                        ('valid', django.contrib.postgres.fields.ranges.DateRangeField(help_text='Days; the last one is not in it.')),
                        ('customer', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', related_query_name='+', to='customers.customer')),
                        ('organization', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', related_query_name='+', to='organizations.organization')),
                        ('pgh_context', models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='pghistory.context')),
                        ('pgh_obj', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='events', to='taxes.taxexemption')),
                    ],
                    options={
                        'abstract': False,
                    },
                ),
                migrations.CreateModel(
                    name='TaxRate',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('public_id', apps.kernel.models.PublicIdField(editable=False, max_length=40, unique=True)),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('country', models.CharField(help_text='ISO 3166 code, such as CA.', max_length=2)),
                        ('region', models.CharField(blank=True, help_text='Code of a state or province, such as QC; empty: the whole country.', max_length=20)),
                        ('postal_prefix', models.CharField(blank=True, help_text='Postal codes that begin so; empty: all of the place.', max_length=12)),
                        ('name', models.CharField(help_text='Of the tax, such as VAT or GST; of one name the most specific rate counts.', max_length=50)),
                        ('kind', models.CharField(choices=[('standard', 'Standard'), ('reduced', 'Reduced'), ('zero', 'Zero rated'), ('exempt', 'Exempt')], default='standard', max_length=8)),
                        ('percent', models.DecimalField(decimal_places=4, max_digits=7)),
                        ('reason', models.CharField(blank=True, help_text='Of an exempt rate, as documents quote it.', max_length=255)),
                        ('valid', django.contrib.postgres.fields.ranges.DateRangeField(help_text='Days; the last one is not in it.')),
                        ('category', models.ForeignKey(blank=True, help_text='Empty: everything without a rate of its own.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='rates', to='taxes.taxcategory')),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
                    ],
                    options={
                        'indexes': [models.Index(fields=['organization', 'country', '-id'], name='taxrate_list')],
                        'constraints': [django.contrib.postgres.constraints.ExclusionConstraint(expressions=[('organization', '='), ('country', '='), ('region', '='), ('postal_prefix', '='), ('name', '='), (django.db.models.functions.comparison.Coalesce('category', 0), '='), ('valid', '&&')], name='taxrate_one_at_a_time'), models.CheckConstraint(condition=models.Q(('valid__isempty', False)), name='taxrate_valid_some_day'), models.CheckConstraint(condition=models.Q(('country__regex', '^[A-Z]{2}$')), name='taxrate_country_is_code'), models.CheckConstraint(condition=models.Q(('percent__gte', 0), ('percent__lte', 100)), name='taxrate_is_percent'), models.CheckConstraint(condition=models.Q(('name', ''), _negated=True), name='taxrate_name_filled'), models.CheckConstraint(condition=models.Q(models.Q(('kind__in', ['standard', 'reduced']), ('percent__gt', 0), ('reason', '')), models.Q(('kind', 'zero'), ('percent', 0), ('reason', '')), models.Q(('kind', 'exempt'), ('percent', 0), models.Q(('reason', ''), _negated=True)), _connector='OR'), name='taxrate_is_of_its_kind')],
                    },
                ),
                migrations.CreateModel(
                    name='TaxRateEvent',
                    fields=[
                        ('pgh_id', models.AutoField(primary_key=True, serialize=False)),
                        ('pgh_created_at', models.DateTimeField(auto_now_add=True)),
                        ('pgh_label', models.TextField(help_text='The event label.')),
                        ('id', models.BigIntegerField()),
                        ('public_id', apps.kernel.models.PublicIdField(editable=False, max_length=40)),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('country', models.CharField(help_text='ISO 3166 code, such as CA.', max_length=2)),
                        ('region', models.CharField(blank=True, help_text='Code of a state or province, such as QC; empty: the whole country.', max_length=20)),
                        ('postal_prefix', models.CharField(blank=True, help_text='Postal codes that begin so; empty: all of the place.', max_length=12)),
                        ('name', models.CharField(help_text='Of the tax, such as VAT or GST; of one name the most specific rate counts.', max_length=50)),
                        ('kind', models.CharField(choices=[('standard', 'Standard'), ('reduced', 'Reduced'), ('zero', 'Zero rated'), ('exempt', 'Exempt')], default='standard', max_length=8)),
                        ('percent', models.DecimalField(decimal_places=4, max_digits=7)),
                        ('reason', models.CharField(blank=True, help_text='Of an exempt rate, as documents quote it.', max_length=255)),
                        ('valid', django.contrib.postgres.fields.ranges.DateRangeField(help_text='Days; the last one is not in it.')),
                        ('category', models.ForeignKey(blank=True, db_constraint=False, help_text='Empty: everything without a rate of its own.', null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', related_query_name='+', to='taxes.taxcategory')),
                        ('organization', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', related_query_name='+', to='organizations.organization')),
                        ('pgh_context', models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='pghistory.context')),
                        ('pgh_obj', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='events', to='taxes.taxrate')),
                    ],
                    options={
                        'abstract': False,
                    },
                ),
                migrations.CreateModel(
                    name='TaxRegistration',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('public_id', apps.kernel.models.PublicIdField(editable=False, max_length=40, unique=True)),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('country', models.CharField(help_text='ISO 3166 code, such as DE.', max_length=2)),
                        ('region', models.CharField(blank=True, help_text='Code of a state or province, such as QC; empty: the whole country.', max_length=20)),
                        ('scheme', models.CharField(choices=[('domestic', 'Of the country or region'), ('oss', 'One stop shop (consumers in the EU)')], default='domestic', max_length=8)),
                        ('tax_id', models.CharField(help_text='Under which the tax is collected.', max_length=50)),
                        ('businesses', models.CharField(choices=[('by_law', 'Reverse charge within the EU, charged elsewhere'), ('reverse_charge', 'They owe it themselves'), ('charged', 'Charged like everybody')], default='by_law', help_text='Customers with a valid tax id.', max_length=14)),
                        ('valid', django.contrib.postgres.fields.ranges.DateRangeField(help_text='Days; the last one is not in it.')),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
                    ],
                    options={
                        'indexes': [models.Index(fields=['organization', '-id'], name='taxregistration_list')],
                        'constraints': [django.contrib.postgres.constraints.ExclusionConstraint(expressions=[('organization', '='), ('country', '='), ('region', '='), ('scheme', '='), ('valid', '&&')], name='taxregistration_one_at_a_time'), models.CheckConstraint(condition=models.Q(('valid__isempty', False)), name='taxregistration_valid_some_day'), models.CheckConstraint(condition=models.Q(('country__regex', '^[A-Z]{2}$')), name='taxregistration_country_is_code'), models.CheckConstraint(condition=models.Q(('tax_id', ''), _negated=True), name='taxregistration_has_id'), models.CheckConstraint(condition=models.Q(('businesses__in', ['by_law', 'reverse_charge', 'charged']), ('scheme__in', ['domestic', 'oss'])), name='taxregistration_known'), models.CheckConstraint(condition=models.Q(models.Q(('scheme', 'oss'), _negated=True), ('region', ''), _connector='OR'), name='taxregistration_oss_is_of_countries')],
                    },
                ),
                migrations.CreateModel(
                    name='TaxRegistrationEvent',
                    fields=[
                        ('pgh_id', models.AutoField(primary_key=True, serialize=False)),
                        ('pgh_created_at', models.DateTimeField(auto_now_add=True)),
                        ('pgh_label', models.TextField(help_text='The event label.')),
                        ('id', models.BigIntegerField()),
                        ('public_id', apps.kernel.models.PublicIdField(editable=False, max_length=40)),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('country', models.CharField(help_text='ISO 3166 code, such as DE.', max_length=2)),
                        ('region', models.CharField(blank=True, help_text='Code of a state or province, such as QC; empty: the whole country.', max_length=20)),
                        ('scheme', models.CharField(choices=[('domestic', 'Of the country or region'), ('oss', 'One stop shop (consumers in the EU)')], default='domestic', max_length=8)),
                        ('tax_id', models.CharField(help_text='Under which the tax is collected.', max_length=50)),
                        ('businesses', models.CharField(choices=[('by_law', 'Reverse charge within the EU, charged elsewhere'), ('reverse_charge', 'They owe it themselves'), ('charged', 'Charged like everybody')], default='by_law', help_text='Customers with a valid tax id.', max_length=14)),
                        ('valid', django.contrib.postgres.fields.ranges.DateRangeField(help_text='Days; the last one is not in it.')),
                        ('organization', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', related_query_name='+', to='organizations.organization')),
                        ('pgh_context', models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='pghistory.context')),
                        ('pgh_obj', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='events', to='taxes.taxregistration')),
                    ],
                    options={
                        'abstract': False,
                    },
                ),
                migrations.CreateModel(
                    name='TaxTreatment',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('digest', models.CharField(help_text='SHA-256 of the decision.', max_length=64)),
                        ('category', models.CharField(blank=True, help_text='Code of EN 16931.', max_length=2)),
                        ('basis', models.CharField(help_text='The rule that decided.', max_length=30)),
                        ('jurisdiction', models.CharField(blank=True, max_length=40)),
                        ('rate', models.DecimalField(decimal_places=4, help_text='Percent of all its taxes.', max_digits=8)),
                        ('percents', django.contrib.postgres.fields.ArrayField(base_field=models.DecimalField(decimal_places=4, max_digits=8), blank=True, default=list, help_text='Of each tax.', size=None)),
                        ('facts', models.JSONField(help_text='All of the decision.')),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
                    ],
                    options={
                        'constraints': [models.UniqueConstraint(fields=('organization', 'digest'), name='taxtreatment_once')],
                    },
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='taxcategory',
                    trigger=pgtrigger.compiler.Trigger(name='insert_insert', sql=pgtrigger.compiler.UpsertTriggerSql(func='INSERT INTO "taxes_taxcategoryevent" ("code", "created_at", "id", "is_exempt", "is_goods", "name", "organization_id", "pgh_context_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "public_id", "reason", "reason_code", "updated_at") VALUES (NEW."code", NEW."created_at", NEW."id", NEW."is_exempt", NEW."is_goods", NEW."name", NEW."organization_id", _pgh_attach_context(), NOW(), \'insert\', NEW."id", NEW."public_id", NEW."reason", NEW."reason_code", NEW."updated_at"); RETURN NULL;', hash='abf955489d7450efa497f0f8ea1d887186f198ce', operation='INSERT', pgid='pgtrigger_insert_insert_e2a1c', table='taxes_taxcategory', when='AFTER')),
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='taxcategory',
                    trigger=pgtrigger.compiler.Trigger(name='update_update', sql=pgtrigger.compiler.UpsertTriggerSql(condition='WHEN (OLD.* IS DISTINCT FROM NEW.*)', func='INSERT INTO "taxes_taxcategoryevent" ("code", "created_at", "id", "is_exempt", "is_goods", "name", "organization_id", "pgh_context_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "public_id", "reason", "reason_code", "updated_at") VALUES (NEW."code", NEW."created_at", NEW."id", NEW."is_exempt", NEW."is_goods", NEW."name", NEW."organization_id", _pgh_attach_context(), NOW(), \'update\', NEW."id", NEW."public_id", NEW."reason", NEW."reason_code", NEW."updated_at"); RETURN NULL;', hash='ba49d9f12a7797ca6d56c3dd5b68316936c90137', operation='UPDATE', pgid='pgtrigger_update_update_693b7', table='taxes_taxcategory', when='AFTER')),
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='taxcategory',
                    trigger=pgtrigger.compiler.Trigger(name='delete_delete', sql=pgtrigger.compiler.UpsertTriggerSql(func='INSERT INTO "taxes_taxcategoryevent" ("code", "created_at", "id", "is_exempt", "is_goods", "name", "organization_id", "pgh_context_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "public_id", "reason", "reason_code", "updated_at") VALUES (OLD."code", OLD."created_at", OLD."id", OLD."is_exempt", OLD."is_goods", OLD."name", OLD."organization_id", _pgh_attach_context(), NOW(), \'delete\', OLD."id", OLD."public_id", OLD."reason", OLD."reason_code", OLD."updated_at"); RETURN NULL;', hash='bb1e738dc8f82806510e5ae0d6ec39bd29139315', operation='DELETE', pgid='pgtrigger_delete_delete_013ce', table='taxes_taxcategory', when='AFTER')),
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='taxexemption',
                    trigger=pgtrigger.compiler.Trigger(name='insert_insert', sql=pgtrigger.compiler.UpsertTriggerSql(func='INSERT INTO "taxes_taxexemptionevent" ("category", "certificate", "country", "created_at", "customer_id", "id", "organization_id", "pgh_context_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "public_id", "reason", "region", "updated_at", "valid") VALUES (NEW."category", NEW."certificate", NEW."country", NEW."created_at", NEW."customer_id", NEW."id", NEW."organization_id", _pgh_attach_context(), NOW(), \'insert\', NEW."id", NEW."public_id", NEW."reason", NEW."region", NEW."updated_at", NEW."valid"); RETURN NULL;', hash='b998372ffa38066d8935e6a6d239b16d31e57e06', operation='INSERT', pgid='pgtrigger_insert_insert_291e9', table='taxes_taxexemption', when='AFTER')),
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='taxexemption',
                    trigger=pgtrigger.compiler.Trigger(name='update_update', sql=pgtrigger.compiler.UpsertTriggerSql(condition='WHEN (OLD.* IS DISTINCT FROM NEW.*)', func='INSERT INTO "taxes_taxexemptionevent" ("category", "certificate", "country", "created_at", "customer_id", "id", "organization_id", "pgh_context_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "public_id", "reason", "region", "updated_at", "valid") VALUES (NEW."category", NEW."certificate", NEW."country", NEW."created_at", NEW."customer_id", NEW."id", NEW."organization_id", _pgh_attach_context(), NOW(), \'update\', NEW."id", NEW."public_id", NEW."reason", NEW."region", NEW."updated_at", NEW."valid"); RETURN NULL;', hash='369e8b2da8baafaea6f14b26bad2f76b44e0743c', operation='UPDATE', pgid='pgtrigger_update_update_1f347', table='taxes_taxexemption', when='AFTER')),
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='taxexemption',
                    trigger=pgtrigger.compiler.Trigger(name='delete_delete', sql=pgtrigger.compiler.UpsertTriggerSql(func='INSERT INTO "taxes_taxexemptionevent" ("category", "certificate", "country", "created_at", "customer_id", "id", "organization_id", "pgh_context_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "public_id", "reason", "region", "updated_at", "valid") VALUES (OLD."category", OLD."certificate", OLD."country", OLD."created_at", OLD."customer_id", OLD."id", OLD."organization_id", _pgh_attach_context(), NOW(), \'delete\', OLD."id", OLD."public_id", OLD."reason", OLD."region", OLD."updated_at", OLD."valid"); RETURN NULL;', hash='47ddf5c16152d0cb39f20442a50a2384b6bdbf2d', operation='DELETE', pgid='pgtrigger_delete_delete_a23db', table='taxes_taxexemption', when='AFTER')),
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='taxrate',
                    trigger=pgtrigger.compiler.Trigger(name='insert_insert', sql=pgtrigger.compiler.UpsertTriggerSql(func='INSERT INTO "taxes_taxrateevent" ("category_id", "country", "created_at", "id", "kind", "name", "organization_id", "percent", "pgh_context_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "postal_prefix", "public_id", "reason", "region", "updated_at", "valid") VALUES (NEW."category_id", NEW."country", NEW."created_at", NEW."id", NEW."kind", NEW."name", NEW."organization_id", NEW."percent", _pgh_attach_context(), NOW(), \'insert\', NEW."id", NEW."postal_prefix", NEW."public_id", NEW."reason", NEW."region", NEW."updated_at", NEW."valid"); RETURN NULL;', hash='2525a05110ca05e5091c2d2b77b21db922fca4e7', operation='INSERT', pgid='pgtrigger_insert_insert_948d0', table='taxes_taxrate', when='AFTER')),
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='taxrate',
                    trigger=pgtrigger.compiler.Trigger(name='update_update', sql=pgtrigger.compiler.UpsertTriggerSql(condition='WHEN (OLD.* IS DISTINCT FROM NEW.*)', func='INSERT INTO "taxes_taxrateevent" ("category_id", "country", "created_at", "id", "kind", "name", "organization_id", "percent", "pgh_context_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "postal_prefix", "public_id", "reason", "region", "updated_at", "valid") VALUES (NEW."category_id", NEW."country", NEW."created_at", NEW."id", NEW."kind", NEW."name", NEW."organization_id", NEW."percent", _pgh_attach_context(), NOW(), \'update\', NEW."id", NEW."postal_prefix", NEW."public_id", NEW."reason", NEW."region", NEW."updated_at", NEW."valid"); RETURN NULL;', hash='f10a0471be9117132b29379ba108c1012ba21992', operation='UPDATE', pgid='pgtrigger_update_update_83eea', table='taxes_taxrate', when='AFTER')),
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='taxrate',
                    trigger=pgtrigger.compiler.Trigger(name='delete_delete', sql=pgtrigger.compiler.UpsertTriggerSql(func='INSERT INTO "taxes_taxrateevent" ("category_id", "country", "created_at", "id", "kind", "name", "organization_id", "percent", "pgh_context_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "postal_prefix", "public_id", "reason", "region", "updated_at", "valid") VALUES (OLD."category_id", OLD."country", OLD."created_at", OLD."id", OLD."kind", OLD."name", OLD."organization_id", OLD."percent", _pgh_attach_context(), NOW(), \'delete\', OLD."id", OLD."postal_prefix", OLD."public_id", OLD."reason", OLD."region", OLD."updated_at", OLD."valid"); RETURN NULL;', hash='fd4fc31195110a57f4bdc3de48a0be5125ed16a0', operation='DELETE', pgid='pgtrigger_delete_delete_a1ef5', table='taxes_taxrate', when='AFTER')),
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='taxregistration',
                    trigger=pgtrigger.compiler.Trigger(name='insert_insert', sql=pgtrigger.compiler.UpsertTriggerSql(func='INSERT INTO "taxes_taxregistrationevent" ("businesses", "country", "created_at", "id", "organization_id", "pgh_context_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "public_id", "region", "scheme", "tax_id", "updated_at", "valid") VALUES (NEW."businesses", NEW."country", NEW."created_at", NEW."id", NEW."organization_id", _pgh_attach_context(), NOW(), \'insert\', NEW."id", NEW."public_id", NEW."region", NEW."scheme", NEW."tax_id", NEW."updated_at", NEW."valid"); RETURN NULL;', hash='548d174d0cb6dd2a9c3b64982b5137ecea2b62a7', operation='INSERT', pgid='pgtrigger_insert_insert_e985f', table='taxes_taxregistration', when='AFTER')),
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='taxregistration',
                    trigger=pgtrigger.compiler.Trigger(name='update_update', sql=pgtrigger.compiler.UpsertTriggerSql(condition='WHEN (OLD.* IS DISTINCT FROM NEW.*)', func='INSERT INTO "taxes_taxregistrationevent" ("businesses", "country", "created_at", "id", "organization_id", "pgh_context_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "public_id", "region", "scheme", "tax_id", "updated_at", "valid") VALUES (NEW."businesses", NEW."country", NEW."created_at", NEW."id", NEW."organization_id", _pgh_attach_context(), NOW(), \'update\', NEW."id", NEW."public_id", NEW."region", NEW."scheme", NEW."tax_id", NEW."updated_at", NEW."valid"); RETURN NULL;', hash='9a96e7de8cffdf06a66a570117701b1196748b0b', operation='UPDATE', pgid='pgtrigger_update_update_58359', table='taxes_taxregistration', when='AFTER')),
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='taxregistration',
                    trigger=pgtrigger.compiler.Trigger(name='delete_delete', sql=pgtrigger.compiler.UpsertTriggerSql(func='INSERT INTO "taxes_taxregistrationevent" ("businesses", "country", "created_at", "id", "organization_id", "pgh_context_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "public_id", "region", "scheme", "tax_id", "updated_at", "valid") VALUES (OLD."businesses", OLD."country", OLD."created_at", OLD."id", OLD."organization_id", _pgh_attach_context(), NOW(), \'delete\', OLD."id", OLD."public_id", OLD."region", OLD."scheme", OLD."tax_id", OLD."updated_at", OLD."valid"); RETURN NULL;', hash='0612988181151efbe5178917101d7e6f0bad53e4', operation='DELETE', pgid='pgtrigger_delete_delete_98600', table='taxes_taxregistration', when='AFTER')),
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='taxtreatment',
                    trigger=pgtrigger.compiler.Trigger(name='treatment_never_changes', sql=pgtrigger.compiler.UpsertTriggerSql(func="RAISE EXCEPTION 'pgtrigger: Cannot update or delete rows from % table', TG_TABLE_NAME;", hash='df309b54cf71e8f6c9dde1b098c67b49e3b4b911', operation='UPDATE OR DELETE', pgid='pgtrigger_treatment_never_changes_1541a', table='taxes_taxtreatment', when='BEFORE')),
                ),
            ],
        ),
    ]
