"""The models of prices are no longer listed by the database: an installation may add its own."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('catalog', '0003_weighted_sum'),
    ]

    operations = [
        migrations.AlterField(
            model_name='price',
            name='model',
            field=models.CharField(max_length=40),
        ),
        migrations.AlterField(
            model_name='priceevent',
            name='model',
            field=models.CharField(max_length=40),
        ),
        migrations.AlterField(
            model_name='pricerevision',
            name='model',
            field=models.CharField(max_length=40),
        ),
    ]
