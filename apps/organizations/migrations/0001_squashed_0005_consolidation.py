import apps.kernel.migrating
import apps.kernel.models
import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.text
import pgtrigger.compiler
import pgtrigger.migrations
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    replaces = [('organizations', '0001_initial'), ('organizations', '0002_event_window_in_reach'), ('organizations', '0004_document_details'), ('organizations', '0005_consolidation')]

    initial = True

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
        ('pghistory', '0007_auto_20250421_0444'),
    ]

    operations = [
        apps.kernel.migrating.CreateModels(
            operations=[
                migrations.CreateModel(
                    name='User',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('public_id', apps.kernel.models.PublicIdField(editable=False, max_length=40, unique=True)),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('password', models.CharField(max_length=128, verbose_name='password')),
                        ('last_login', models.DateTimeField(blank=True, null=True, verbose_name='last login')),
                        ('is_superuser', models.BooleanField(default=False, help_text='Designates that this user has all permissions without explicitly assigning them.', verbose_name='superuser status')),
                        ('email', models.EmailField(max_length=254, unique=True)),
                        ('first_name', models.CharField(blank=True, max_length=150)),
                        ('last_name', models.CharField(blank=True, max_length=150)),
                        ('phone', models.CharField(blank=True, max_length=50)),
                        ('date_of_birth', models.DateField(blank=True, null=True)),
                        ('kind', models.CharField(choices=[('COMPANY', 'Company'), ('INDIVIDUAL', 'Individual')], default='INDIVIDUAL', max_length=10)),
                        ('address', models.JSONField(blank=True, default=dict)),
                        ('is_active', models.BooleanField(default=True)),
                        ('is_staff', models.BooleanField(default=False, help_text='May open the admin.')),
                        ('groups', models.ManyToManyField(blank=True, help_text='The groups this user belongs to. A user will get all permissions granted to each of their groups.', related_name='user_set', related_query_name='user', to='auth.group', verbose_name='groups')),
                        ('user_permissions', models.ManyToManyField(blank=True, help_text='Specific permissions for this user.', related_name='user_set', related_query_name='user', to='auth.permission', verbose_name='user permissions')),
                    ],
                    options={
                        'abstract': False,
                    },
                ),
                migrations.CreateModel(
                    name='ApiKey',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('public_id', apps.kernel.models.PublicIdField(editable=False, max_length=40, unique=True)),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('name', models.CharField(max_length=100)),
                        ('prefix', models.CharField(help_text='The first characters, to tell keys apart.', max_length=16)),
                        ('secret_hash', models.BinaryField(max_length=32, unique=True)),
                        ('scopes', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=40), default=list, size=None)),
                        ('last_used_at', models.DateTimeField(blank=True, null=True)),
                        ('expires_at', models.DateTimeField(blank=True, null=True)),
                        ('revoked_at', models.DateTimeField(blank=True, null=True)),
                        ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='api_keys', to='organizations.organization')),
                    ],
                    options={
                        'verbose_name': 'API key',
                        'constraints': [models.CheckConstraint(condition=models.Q(('scopes', []), _negated=True), name='apikey_has_scopes')],
                    },
                ),
                migrations.CreateModel(
                    name='Membership',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('role', models.CharField(choices=[('viewer', 'Viewer'), ('support', 'Support'), ('finance', 'Finance'), ('approver', 'Approver'), ('engineer', 'Engineer'), ('owner', 'Owner')], max_length=10)),
                        ('state', models.CharField(choices=[('invited', 'Invited'), ('active', 'Active'), ('suspended', 'Suspended'), ('declined', 'Declined')], default='active', max_length=10)),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='memberships', to=settings.AUTH_USER_MODEL)),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='memberships', to='organizations.organization')),
                    ],
                    options={
                        'constraints': [models.UniqueConstraint(fields=('organization', 'user'), name='membership_once'), models.CheckConstraint(condition=models.Q(('role__in', ['viewer', 'support', 'finance', 'approver', 'engineer', 'owner'])), name='membership_role_known'), models.CheckConstraint(condition=models.Q(('state__in', ['invited', 'active', 'suspended', 'declined'])), name='membership_state_known')],
                    },
                ),
                migrations.CreateModel(
                    name='Organization',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('public_id', apps.kernel.models.PublicIdField(editable=False, max_length=40, unique=True)),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('name', models.CharField(max_length=255)),
                        ('email', models.EmailField(blank=True, max_length=254)),
                        ('phone', models.CharField(blank=True, max_length=50)),
                        ('billing_emails', django.contrib.postgres.fields.ArrayField(base_field=models.EmailField(max_length=254), blank=True, default=list, size=None)),
                        ('line1', models.CharField(blank=True, max_length=255)),
                        ('line2', models.CharField(blank=True, max_length=255)),
                        ('city', models.CharField(blank=True, max_length=255)),
                        ('state', models.CharField(blank=True, max_length=100)),
                        ('country', models.CharField(blank=True, max_length=2)),
                        ('zip_code', models.CharField(blank=True, max_length=20)),
                        ('environment', models.CharField(choices=[('test', 'Test'), ('live', 'Live')], default='test', max_length=4)),
                        ('is_merchant', models.BooleanField(default=False)),
                        ('is_consumer', models.BooleanField(default=False)),
                        ('timezone', models.CharField(default='UTC', max_length=64)),
                        ('currency', apps.kernel.models.CurrencyCodeField(default='USD', help_text='Offered first when a plan is made.', max_length=3)),
                        ('grace_period_seconds', models.PositiveIntegerField(default=3600, help_text='How long a closed period waits for late usage before it is calculated.')),
                        ('auto_approve', models.BooleanField(default=True, help_text='Issue calculated invoices at once; otherwise they wait as drafts.')),
                        ('invoice_prefix', models.CharField(default='INV', max_length=12)),
                        ('event_days_back', models.PositiveIntegerField(default=35, help_text='Meter events older than this are kept aside until someone releases them.')),
                        ('event_seconds_ahead', models.PositiveIntegerField(default=300, help_text='Meter events further ahead than this are kept aside until their time has come.')),
                        ('managed_by', models.ForeignKey(blank=True, help_text="The merchant that made this consumer; its data is that merchant's alone.", null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
                        ('bic', models.CharField(blank=True, max_length=11, verbose_name='BIC')),
                        ('iban', models.CharField(blank=True, help_text='Where customers transfer money to.', max_length=34, verbose_name='IBAN')),
                        ('legal_name', models.CharField(blank=True, help_text='On documents, in place of the name.', max_length=255)),
                        ('registration_number', models.CharField(blank=True, help_text='In the register of companies or of the tax office.', max_length=50)),
                        ('vat_id', models.CharField(blank=True, help_text="A merchant's, with the country's letters. A customer has its own.", max_length=20, verbose_name='VAT id')),
                        ('consolidate_invoices', models.BooleanField(default=False, help_text='Issue invoices of one customer whose periods end together as one document; a customer may differ.')),
                    ],
                    options={
                        'constraints': [models.CheckConstraint(condition=models.Q(('is_merchant', True), ('is_consumer', True), _connector='OR'), name='organization_has_a_side'), models.CheckConstraint(condition=models.Q(('invoice_prefix__regex', '^[A-Z0-9]{1,12}$')), name='organization_prefix_is_plain'), models.UniqueConstraint(models.F('managed_by'), django.db.models.functions.text.Lower('email'), condition=models.Q(('managed_by__isnull', False), models.Q(('email', ''), _negated=True)), name='organization_managed_email_unique'), models.CheckConstraint(condition=models.Q(('event_days_back__lte', 36500), ('event_seconds_ahead__lte', 31536000)), name='organization_event_window_in_reach', violation_error_message='Accept events at most 100 years back and a year ahead.'), models.CheckConstraint(condition=models.Q(('vat_id', ''), ('vat_id__regex', '^[A-Z]{2}[A-Z0-9]{2,18}$'), _connector='OR'), name='organization_vat_id_shaped'), models.CheckConstraint(condition=models.Q(('iban', ''), ('iban__regex', '^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$'), _connector='OR'), name='organization_iban_shaped'), models.CheckConstraint(condition=models.Q(('bic', ''), ('bic__regex', '^[A-Z]{6}[A-Z0-9]{2}([A-Z0-9]{3})?$'), _connector='OR'), name='organization_bic_shaped')],
                    },
                ),
                migrations.CreateModel(
                    name='MembershipEvent',
                    fields=[
                        ('pgh_id', models.AutoField(primary_key=True, serialize=False)),
                        ('pgh_created_at', models.DateTimeField(auto_now_add=True)),
                        ('pgh_label', models.TextField(help_text='The event label.')),
                        ('id', models.BigIntegerField()),
                        ('role', models.CharField(choices=[('viewer', 'Viewer'), ('support', 'Support'), ('finance', 'Finance'), ('approver', 'Approver'), ('engineer', 'Engineer'), ('owner', 'Owner')], max_length=10)),
                        ('state', models.CharField(choices=[('invited', 'Invited'), ('active', 'Active'), ('suspended', 'Suspended'), ('declined', 'Declined')], default='active', max_length=10)),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('pgh_context', models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='pghistory.context')),
                        ('pgh_obj', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='events', to='organizations.membership')),
                        ('user', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', related_query_name='+', to=settings.AUTH_USER_MODEL)),
                        ('organization', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', related_query_name='+', to='organizations.organization')),
                    ],
                    options={
                        'abstract': False,
                    },
                ),
                migrations.CreateModel(
                    name='IdempotencyRecord',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('key', models.CharField(max_length=255)),
                        ('method', models.CharField(max_length=8)),
                        ('path', models.CharField(max_length=500)),
                        ('request_hash', models.BinaryField(max_length=32)),
                        ('response_status', models.PositiveSmallIntegerField(help_text='Empty while the first is running.', null=True)),
                        ('response_body', models.BinaryField(default=b'')),
                        ('response_type', models.CharField(blank=True, max_length=100)),
                        ('created_at', models.DateTimeField(help_text='When the first call came; records go a day later.')),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='organizations.organization')),
                    ],
                    options={
                        'indexes': [models.Index(fields=['created_at'], name='idempotency_created')],
                        'constraints': [models.UniqueConstraint(fields=('organization', 'key'), name='idempotency_key_once')],
                    },
                ),
                migrations.CreateModel(
                    name='ApiKeyEvent',
                    fields=[
                        ('pgh_id', models.AutoField(primary_key=True, serialize=False)),
                        ('pgh_created_at', models.DateTimeField(auto_now_add=True)),
                        ('pgh_label', models.TextField(help_text='The event label.')),
                        ('id', models.BigIntegerField()),
                        ('public_id', apps.kernel.models.PublicIdField(editable=False, max_length=40)),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('name', models.CharField(max_length=100)),
                        ('prefix', models.CharField(help_text='The first characters, to tell keys apart.', max_length=16)),
                        ('secret_hash', models.BinaryField(max_length=32)),
                        ('scopes', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=40), default=list, size=None)),
                        ('expires_at', models.DateTimeField(blank=True, null=True)),
                        ('revoked_at', models.DateTimeField(blank=True, null=True)),
                        ('pgh_context', models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='pghistory.context')),
                        ('pgh_obj', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='events', to='organizations.apikey')),
                        ('user', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', related_query_name='+', to=settings.AUTH_USER_MODEL)),
                        ('organization', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', related_query_name='+', to='organizations.organization')),
                    ],
                    options={
                        'abstract': False,
                    },
                ),
                migrations.CreateModel(
                    name='OrganizationEvent',
                    fields=[
                        ('pgh_id', models.AutoField(primary_key=True, serialize=False)),
                        ('pgh_created_at', models.DateTimeField(auto_now_add=True)),
                        ('pgh_label', models.TextField(help_text='The event label.')),
                        ('id', models.BigIntegerField()),
                        ('public_id', apps.kernel.models.PublicIdField(editable=False, max_length=40)),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('name', models.CharField(max_length=255)),
                        ('email', models.EmailField(blank=True, max_length=254)),
                        ('phone', models.CharField(blank=True, max_length=50)),
                        ('billing_emails', django.contrib.postgres.fields.ArrayField(base_field=models.EmailField(max_length=254), blank=True, default=list, size=None)),
                        ('line1', models.CharField(blank=True, max_length=255)),
                        ('line2', models.CharField(blank=True, max_length=255)),
                        ('city', models.CharField(blank=True, max_length=255)),
                        ('state', models.CharField(blank=True, max_length=100)),
                        ('country', models.CharField(blank=True, max_length=2)),
                        ('zip_code', models.CharField(blank=True, max_length=20)),
                        ('environment', models.CharField(choices=[('test', 'Test'), ('live', 'Live')], default='test', max_length=4)),
                        ('is_merchant', models.BooleanField(default=False)),
                        ('is_consumer', models.BooleanField(default=False)),
                        ('timezone', models.CharField(default='UTC', max_length=64)),
                        ('currency', apps.kernel.models.CurrencyCodeField(default='USD', help_text='Offered first when a plan is made.', max_length=3)),
                        ('grace_period_seconds', models.PositiveIntegerField(default=3600, help_text='How long a closed period waits for late usage before it is calculated.')),
                        ('auto_approve', models.BooleanField(default=True, help_text='Issue calculated invoices at once; otherwise they wait as drafts.')),
                        ('invoice_prefix', models.CharField(default='INV', max_length=12)),
                        ('event_days_back', models.PositiveIntegerField(default=35, help_text='Meter events older than this are kept aside until someone releases them.')),
                        ('event_seconds_ahead', models.PositiveIntegerField(default=300, help_text='Meter events further ahead than this are kept aside until their time has come.')),
                        ('managed_by', models.ForeignKey(blank=True, db_constraint=False, help_text="The merchant that made this consumer; its data is that merchant's alone.", null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', related_query_name='+', to='organizations.organization')),
                        ('pgh_context', models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='pghistory.context')),
                        ('pgh_obj', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='events', to='organizations.organization')),
                        ('bic', models.CharField(blank=True, max_length=11, verbose_name='BIC')),
                        ('iban', models.CharField(blank=True, help_text='Where customers transfer money to.', max_length=34, verbose_name='IBAN')),
                        ('legal_name', models.CharField(blank=True, help_text='On documents, in place of the name.', max_length=255)),
                        ('registration_number', models.CharField(blank=True, help_text='In the register of companies or of the tax office.', max_length=50)),
                        ('vat_id', models.CharField(blank=True, help_text="A merchant's, with the country's letters. A customer has its own.", max_length=20, verbose_name='VAT id')),
                        ('consolidate_invoices', models.BooleanField(default=False, help_text='Issue invoices of one customer whose periods end together as one document; a customer may differ.')),
                    ],
                    options={
                        'abstract': False,
                    },
                ),
                migrations.CreateModel(
                    name='UserEvent',
                    fields=[
                        ('pgh_id', models.AutoField(primary_key=True, serialize=False)),
                        ('pgh_created_at', models.DateTimeField(auto_now_add=True)),
                        ('pgh_label', models.TextField(help_text='The event label.')),
                        ('id', models.BigIntegerField()),
                        ('public_id', apps.kernel.models.PublicIdField(editable=False, max_length=40)),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('is_superuser', models.BooleanField(default=False, help_text='Designates that this user has all permissions without explicitly assigning them.', verbose_name='superuser status')),
                        ('email', models.EmailField(max_length=254)),
                        ('first_name', models.CharField(blank=True, max_length=150)),
                        ('last_name', models.CharField(blank=True, max_length=150)),
                        ('phone', models.CharField(blank=True, max_length=50)),
                        ('date_of_birth', models.DateField(blank=True, null=True)),
                        ('kind', models.CharField(choices=[('COMPANY', 'Company'), ('INDIVIDUAL', 'Individual')], default='INDIVIDUAL', max_length=10)),
                        ('address', models.JSONField(blank=True, default=dict)),
                        ('is_active', models.BooleanField(default=True)),
                        ('is_staff', models.BooleanField(default=False, help_text='May open the admin.')),
                        ('pgh_context', models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='pghistory.context')),
                        ('pgh_obj', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='events', to=settings.AUTH_USER_MODEL)),
                    ],
                    options={
                        'abstract': False,
                    },
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='user',
                    trigger=pgtrigger.compiler.Trigger(name='insert_insert', sql=pgtrigger.compiler.UpsertTriggerSql(func='INSERT INTO "organizations_userevent" ("address", "created_at", "date_of_birth", "email", "first_name", "id", "is_active", "is_staff", "is_superuser", "kind", "last_name", "pgh_context_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "phone", "public_id", "updated_at") VALUES (NEW."address", NEW."created_at", NEW."date_of_birth", NEW."email", NEW."first_name", NEW."id", NEW."is_active", NEW."is_staff", NEW."is_superuser", NEW."kind", NEW."last_name", _pgh_attach_context(), NOW(), \'insert\', NEW."id", NEW."phone", NEW."public_id", NEW."updated_at"); RETURN NULL;', hash='ba0113ff39681b83b08fe55081cb1ee564e80eaf', operation='INSERT', pgid='pgtrigger_insert_insert_73a80', table='organizations_user', when='AFTER')),
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='user',
                    trigger=pgtrigger.compiler.Trigger(name='update_update', sql=pgtrigger.compiler.UpsertTriggerSql(condition='WHEN (OLD."address" IS DISTINCT FROM (NEW."address") OR OLD."created_at" IS DISTINCT FROM (NEW."created_at") OR OLD."date_of_birth" IS DISTINCT FROM (NEW."date_of_birth") OR OLD."email" IS DISTINCT FROM (NEW."email") OR OLD."first_name" IS DISTINCT FROM (NEW."first_name") OR OLD."id" IS DISTINCT FROM (NEW."id") OR OLD."is_active" IS DISTINCT FROM (NEW."is_active") OR OLD."is_staff" IS DISTINCT FROM (NEW."is_staff") OR OLD."is_superuser" IS DISTINCT FROM (NEW."is_superuser") OR OLD."kind" IS DISTINCT FROM (NEW."kind") OR OLD."last_name" IS DISTINCT FROM (NEW."last_name") OR OLD."phone" IS DISTINCT FROM (NEW."phone") OR OLD."public_id" IS DISTINCT FROM (NEW."public_id") OR OLD."updated_at" IS DISTINCT FROM (NEW."updated_at"))', func='INSERT INTO "organizations_userevent" ("address", "created_at", "date_of_birth", "email", "first_name", "id", "is_active", "is_staff", "is_superuser", "kind", "last_name", "pgh_context_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "phone", "public_id", "updated_at") VALUES (NEW."address", NEW."created_at", NEW."date_of_birth", NEW."email", NEW."first_name", NEW."id", NEW."is_active", NEW."is_staff", NEW."is_superuser", NEW."kind", NEW."last_name", _pgh_attach_context(), NOW(), \'update\', NEW."id", NEW."phone", NEW."public_id", NEW."updated_at"); RETURN NULL;', hash='24c69b8e7eb5db4ae136e052b0b33d2b434c5539', operation='UPDATE', pgid='pgtrigger_update_update_b019e', table='organizations_user', when='AFTER')),
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='apikey',
                    trigger=pgtrigger.compiler.Trigger(name='insert_insert', sql=pgtrigger.compiler.UpsertTriggerSql(func='INSERT INTO "organizations_apikeyevent" ("created_at", "expires_at", "id", "name", "organization_id", "pgh_context_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "prefix", "public_id", "revoked_at", "scopes", "secret_hash", "updated_at", "user_id") VALUES (NEW."created_at", NEW."expires_at", NEW."id", NEW."name", NEW."organization_id", _pgh_attach_context(), NOW(), \'insert\', NEW."id", NEW."prefix", NEW."public_id", NEW."revoked_at", NEW."scopes", NEW."secret_hash", NEW."updated_at", NEW."user_id"); RETURN NULL;', hash='2e4232a141be90d9fd8325258b8875502b593a12', operation='INSERT', pgid='pgtrigger_insert_insert_39177', table='organizations_apikey', when='AFTER')),
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='apikey',
                    trigger=pgtrigger.compiler.Trigger(name='update_update', sql=pgtrigger.compiler.UpsertTriggerSql(condition='WHEN (OLD."created_at" IS DISTINCT FROM (NEW."created_at") OR OLD."expires_at" IS DISTINCT FROM (NEW."expires_at") OR OLD."id" IS DISTINCT FROM (NEW."id") OR OLD."name" IS DISTINCT FROM (NEW."name") OR OLD."organization_id" IS DISTINCT FROM (NEW."organization_id") OR OLD."prefix" IS DISTINCT FROM (NEW."prefix") OR OLD."public_id" IS DISTINCT FROM (NEW."public_id") OR OLD."revoked_at" IS DISTINCT FROM (NEW."revoked_at") OR OLD."scopes" IS DISTINCT FROM (NEW."scopes") OR OLD."secret_hash" IS DISTINCT FROM (NEW."secret_hash") OR OLD."updated_at" IS DISTINCT FROM (NEW."updated_at") OR OLD."user_id" IS DISTINCT FROM (NEW."user_id"))', func='INSERT INTO "organizations_apikeyevent" ("created_at", "expires_at", "id", "name", "organization_id", "pgh_context_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "prefix", "public_id", "revoked_at", "scopes", "secret_hash", "updated_at", "user_id") VALUES (NEW."created_at", NEW."expires_at", NEW."id", NEW."name", NEW."organization_id", _pgh_attach_context(), NOW(), \'update\', NEW."id", NEW."prefix", NEW."public_id", NEW."revoked_at", NEW."scopes", NEW."secret_hash", NEW."updated_at", NEW."user_id"); RETURN NULL;', hash='29c8bbcaa3dd4df35fc95e35b90598f050d328c1', operation='UPDATE', pgid='pgtrigger_update_update_4c42a', table='organizations_apikey', when='AFTER')),
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='membership',
                    trigger=pgtrigger.compiler.Trigger(name='insert_insert', sql=pgtrigger.compiler.UpsertTriggerSql(func='INSERT INTO "organizations_membershipevent" ("created_at", "id", "organization_id", "pgh_context_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "role", "state", "updated_at", "user_id") VALUES (NEW."created_at", NEW."id", NEW."organization_id", _pgh_attach_context(), NOW(), \'insert\', NEW."id", NEW."role", NEW."state", NEW."updated_at", NEW."user_id"); RETURN NULL;', hash='f63ac6dbc17557a142ef1ba3c658785add223c35', operation='INSERT', pgid='pgtrigger_insert_insert_df650', table='organizations_membership', when='AFTER')),
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='membership',
                    trigger=pgtrigger.compiler.Trigger(name='update_update', sql=pgtrigger.compiler.UpsertTriggerSql(condition='WHEN (OLD.* IS DISTINCT FROM NEW.*)', func='INSERT INTO "organizations_membershipevent" ("created_at", "id", "organization_id", "pgh_context_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "role", "state", "updated_at", "user_id") VALUES (NEW."created_at", NEW."id", NEW."organization_id", _pgh_attach_context(), NOW(), \'update\', NEW."id", NEW."role", NEW."state", NEW."updated_at", NEW."user_id"); RETURN NULL;', hash='3a2cf7a2bd6a7baf7f147a7a25793baff2b1b02b', operation='UPDATE', pgid='pgtrigger_update_update_6cb9e', table='organizations_membership', when='AFTER')),
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='organization',
                    trigger=pgtrigger.compiler.Trigger(name='insert_insert', sql=pgtrigger.compiler.UpsertTriggerSql(func='INSERT INTO "organizations_organizationevent" ("auto_approve", "bic", "billing_emails", "city", "consolidate_invoices", "country", "created_at", "currency", "email", "environment", "event_days_back", "event_seconds_ahead", "grace_period_seconds", "iban", "id", "invoice_prefix", "is_consumer", "is_merchant", "legal_name", "line1", "line2", "managed_by_id", "name", "pgh_context_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "phone", "public_id", "registration_number", "state", "timezone", "updated_at", "vat_id", "zip_code") VALUES (NEW."auto_approve", NEW."bic", NEW."billing_emails", NEW."city", NEW."consolidate_invoices", NEW."country", NEW."created_at", NEW."currency", NEW."email", NEW."environment", NEW."event_days_back", NEW."event_seconds_ahead", NEW."grace_period_seconds", NEW."iban", NEW."id", NEW."invoice_prefix", NEW."is_consumer", NEW."is_merchant", NEW."legal_name", NEW."line1", NEW."line2", NEW."managed_by_id", NEW."name", _pgh_attach_context(), NOW(), \'insert\', NEW."id", NEW."phone", NEW."public_id", NEW."registration_number", NEW."state", NEW."timezone", NEW."updated_at", NEW."vat_id", NEW."zip_code"); RETURN NULL;', hash='d368026a2bd80785514cb0d25d2d6322408f04e6', operation='INSERT', pgid='pgtrigger_insert_insert_5a753', table='organizations_organization', when='AFTER')),
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='organization',
                    trigger=pgtrigger.compiler.Trigger(name='update_update', sql=pgtrigger.compiler.UpsertTriggerSql(condition='WHEN (OLD.* IS DISTINCT FROM NEW.*)', func='INSERT INTO "organizations_organizationevent" ("auto_approve", "bic", "billing_emails", "city", "consolidate_invoices", "country", "created_at", "currency", "email", "environment", "event_days_back", "event_seconds_ahead", "grace_period_seconds", "iban", "id", "invoice_prefix", "is_consumer", "is_merchant", "legal_name", "line1", "line2", "managed_by_id", "name", "pgh_context_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "phone", "public_id", "registration_number", "state", "timezone", "updated_at", "vat_id", "zip_code") VALUES (NEW."auto_approve", NEW."bic", NEW."billing_emails", NEW."city", NEW."consolidate_invoices", NEW."country", NEW."created_at", NEW."currency", NEW."email", NEW."environment", NEW."event_days_back", NEW."event_seconds_ahead", NEW."grace_period_seconds", NEW."iban", NEW."id", NEW."invoice_prefix", NEW."is_consumer", NEW."is_merchant", NEW."legal_name", NEW."line1", NEW."line2", NEW."managed_by_id", NEW."name", _pgh_attach_context(), NOW(), \'update\', NEW."id", NEW."phone", NEW."public_id", NEW."registration_number", NEW."state", NEW."timezone", NEW."updated_at", NEW."vat_id", NEW."zip_code"); RETURN NULL;', hash='cdf8b0e2d642583ee5e305e8895d83b83b5f0a34', operation='UPDATE', pgid='pgtrigger_update_update_73a92', table='organizations_organization', when='AFTER')),
                ),
            ],
        ),
    ]
