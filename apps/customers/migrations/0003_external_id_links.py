"""An own id of a merchant stands for one customer at a time, over time."""

import django.contrib.postgres.constraints
import django.contrib.postgres.fields.ranges
import django.db.models.deletion
from django.contrib.postgres.operations import BtreeGistExtension
from django.db import migrations, models

# Before this migration an id moved on only by its customer's deletion; moves by editing leave no trace to go by, so
# today's customer has it since its last deleted one had to leave it, or since the beginning.
FILL = """
INSERT INTO customers_externalidlink (organization_id, customer_id, external_id, valid)
SELECT organization_id, id, external_id, tstzrange(before, deleted_at)
FROM (
    SELECT organization_id, id, external_id, deleted_at,
           lag(deleted_at) OVER (
               PARTITION BY organization_id, external_id ORDER BY deleted_at NULLS LAST, id
           ) AS before
    FROM customers_customer WHERE external_id IS NOT NULL
) AS held
WHERE before IS DISTINCT FROM deleted_at OR before IS NULL
"""


class Migration(migrations.Migration):

    dependencies = [
        ('customers', '0002_initial'),
        ('organizations', '0001_initial'),
    ]

    operations = [
        BtreeGistExtension(),
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
                'constraints': [
                    django.contrib.postgres.constraints.ExclusionConstraint(expressions=[('organization', '='), ('external_id', '='), ('valid', '&&')], name='externalidlink_one_customer_at_a_time'),
                    models.CheckConstraint(condition=models.Q(('valid__isempty', False)), name='externalidlink_is_an_interval'),
                    models.UniqueConstraint(condition=models.Q(('valid__upper_inf', True)), fields=('customer',), name='externalidlink_one_open'),
                ],
            },
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
