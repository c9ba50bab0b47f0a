"""Metrics may be a level averaged over time."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('catalog', '0002_initial'),
        ('organizations', '0001_initial'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='billablemetric',
            name='metric_value_property_where_needed',
        ),
        migrations.AlterField(
            model_name='billablemetric',
            name='aggregation',
            field=models.CharField(choices=[('SUM', 'Sum'), ('COUNT', 'Count'), ('AVG', 'Average'), ('MIN', 'Minimum'), ('MAX', 'Maximum'), ('UNIQUE_COUNT', 'Unique count'), ('LATEST', 'Latest'), ('WEIGHTED_SUM', 'Time-weighted sum')], max_length=12),
        ),
        migrations.AlterField(
            model_name='billablemetricevent',
            name='aggregation',
            field=models.CharField(choices=[('SUM', 'Sum'), ('COUNT', 'Count'), ('AVG', 'Average'), ('MIN', 'Minimum'), ('MAX', 'Maximum'), ('UNIQUE_COUNT', 'Unique count'), ('LATEST', 'Latest'), ('WEIGHTED_SUM', 'Time-weighted sum')], max_length=12),
        ),
        migrations.AddConstraint(
            model_name='billablemetric',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('aggregation', 'COUNT'), ('value_property', '')), ('aggregation', 'UNIQUE_COUNT'), models.Q(('aggregation__in', ['SUM', 'AVG', 'MIN', 'MAX', 'LATEST', 'WEIGHTED_SUM']), models.Q(('value_property', ''), _negated=True)), _connector='OR'), name='metric_value_property_where_needed'),
        ),
    ]
