import apps.kernel.migrating
import django.db.models.deletion
import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models


class Migration(migrations.Migration):

    replaces = [('documents', '0001_initial'), ('documents', '0002_credit_note_documents'), ('documents', '0003_fewer_indexes')]

    initial = True

    dependencies = [
        ('invoicing', '0001_squashed_0024_owed_less_grants'),
        ('organizations', '0001_squashed_0005_consolidation'),
    ]

    operations = [
        apps.kernel.migrating.CreateModels(
            operations=[
                migrations.CreateModel(
                    name='Logo',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('digest', models.CharField(help_text='SHA-256 of the picture.', max_length=64)),
                        ('content', models.BinaryField()),
                        ('media_type', models.CharField(choices=[('image/png', 'PNG'), ('image/jpeg', 'JPEG')], max_length=20)),
                        ('is_current', models.BooleanField(default=True, help_text='It stands on what is issued from now on.')),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
                    ],
                    options={
                        'constraints': [models.UniqueConstraint(fields=('organization', 'digest'), name='logo_once'), models.UniqueConstraint(condition=models.Q(('is_current', True)), fields=('organization',), name='logo_one_current')],
                    },
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='logo',
                    trigger=pgtrigger.compiler.Trigger(name='logo_never_changes', sql=pgtrigger.compiler.UpsertTriggerSql(condition='WHEN (ROW(OLD.organization_id, OLD.digest, OLD.content) IS DISTINCT FROM ROW(NEW.organization_id, NEW.digest, NEW.content))', func="RAISE EXCEPTION 'pgtrigger: Cannot update rows from % table', TG_TABLE_NAME;", hash='d2a0dfbb00964d6c987a1e7150c376827ef644e4', operation='UPDATE', pgid='pgtrigger_logo_never_changes_c7664', table='documents_logo', when='BEFORE')),
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='logo',
                    trigger=pgtrigger.compiler.Trigger(name='logo_is_kept', sql=pgtrigger.compiler.UpsertTriggerSql(func="RAISE EXCEPTION 'pgtrigger: Cannot delete rows from % table', TG_TABLE_NAME;", hash='82e0230a3be002d4f8f31c5a95811338cac3067f', operation='DELETE', pgid='pgtrigger_logo_is_kept_07c75', table='documents_logo', when='BEFORE')),
                ),
                migrations.CreateModel(
                    name='PartyFacts',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('digest', models.CharField(help_text='SHA-256 of the facts.', max_length=64)),
                        ('facts', models.JSONField()),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
                    ],
                    options={
                        'verbose_name_plural': 'party facts',
                        'constraints': [models.UniqueConstraint(fields=('organization', 'digest'), name='partyfacts_once')],
                    },
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='partyfacts',
                    trigger=pgtrigger.compiler.Trigger(name='facts_never_change', sql=pgtrigger.compiler.UpsertTriggerSql(func="RAISE EXCEPTION 'pgtrigger: Cannot update or delete rows from % table', TG_TABLE_NAME;", hash='2deb5fa7a8e37268eb2ded34ae87b0b56deafc58', operation='UPDATE OR DELETE', pgid='pgtrigger_facts_never_change_dbfd2', table='documents_partyfacts', when='BEFORE')),
                ),
                migrations.CreateModel(
                    name='InvoiceParties',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('is_tax_exempt', models.BooleanField(help_text='The subscription was exempt from tax.')),
                        ('timezone', models.CharField(help_text='Dates of the service periods are local to it.', max_length=64)),
                        ('is_later', models.BooleanField(default=False, help_text='The invoice was issued before this was kept; it says what was known later.')),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('invoice', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='invoicing.invoice')),
                        ('organization', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
                        ('buyer', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='documents.partyfacts')),
                        ('seller', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='documents.partyfacts')),
                    ],
                    options={
                        'verbose_name_plural': 'invoice parties',
                    },
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='invoiceparties',
                    trigger=pgtrigger.compiler.Trigger(name='parties_never_change', sql=pgtrigger.compiler.UpsertTriggerSql(func="RAISE EXCEPTION 'pgtrigger: Cannot update or delete rows from % table', TG_TABLE_NAME;", hash='1a8ec48ee105e0f63bbfa502047b4f1b5e364685', operation='UPDATE OR DELETE', pgid='pgtrigger_parties_never_change_80435', table='documents_invoiceparties', when='BEFORE')),
                ),
                migrations.CreateModel(
                    name='InvoiceDocument',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('format', models.CharField(choices=[('pdf', 'PDF'), ('facturx', 'Factur-X'), ('cii', 'CII'), ('ubl', 'UBL')], max_length=8)),
                        ('source_digest', models.CharField(help_text='SHA-256 of what it was made from.', max_length=64)),
                        ('digest', models.CharField(help_text='SHA-256 of the document.', max_length=64)),
                        ('size_bytes', models.PositiveIntegerField()),
                        ('content', models.BinaryField()),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('invoice', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='invoicing.invoice')),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
                    ],
                    options={
                        'indexes': [models.Index(fields=['organization', '-id'], name='invoicedocument_list')],
                        'constraints': [models.UniqueConstraint(fields=('invoice', 'format'), name='invoicedocument_once')],
                    },
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='invoicedocument',
                    trigger=pgtrigger.compiler.Trigger(name='document_never_changes', sql=pgtrigger.compiler.UpsertTriggerSql(func="RAISE EXCEPTION 'pgtrigger: Cannot update rows from % table', TG_TABLE_NAME;", hash='6215f5089bec8a05d4cc281dbf5378ca10bb2baf', operation='UPDATE', pgid='pgtrigger_document_never_changes_3ea47', table='documents_invoicedocument', when='BEFORE')),
                ),
                migrations.CreateModel(
                    name='CreditNoteDocument',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('format', models.CharField(choices=[('pdf', 'PDF'), ('facturx', 'Factur-X'), ('cii', 'CII'), ('ubl', 'UBL')], max_length=8)),
                        ('source_digest', models.CharField(help_text='SHA-256 of what it was made from.', max_length=64)),
                        ('digest', models.CharField(help_text='SHA-256 of the document.', max_length=64)),
                        ('size_bytes', models.PositiveIntegerField()),
                        ('content', models.BinaryField()),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('credit_note', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='invoicing.creditnote')),
                        ('organization', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
                    ],
                    options={
                        'indexes': [models.Index(fields=['organization', '-id'], name='creditdocument_list')],
                        'constraints': [models.UniqueConstraint(fields=('credit_note', 'format'), name='creditdocument_once')],
                    },
                ),
                pgtrigger.migrations.AddTrigger(
                    model_name='creditnotedocument',
                    trigger=pgtrigger.compiler.Trigger(name='credit_document_never_changes', sql=pgtrigger.compiler.UpsertTriggerSql(func="RAISE EXCEPTION 'pgtrigger: Cannot update or delete rows from % table', TG_TABLE_NAME;", hash='6db1d19c7cb13f793ef0d443caa7534edb5f9546', operation='UPDATE OR DELETE', pgid='pgtrigger_credit_document_never_changes_0421d', table='documents_creditnotedocument', when='BEFORE')),
                ),
            ],
        ),
    ]
