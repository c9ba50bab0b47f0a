"""Counters of numbers go by the format of the numbers, of which the prefix is one part."""

from django.db import migrations, models

MARKS = {"invoice": "", "credit_note": "-CN"}


def to_keys(apps, schema_editor):
    for row in apps.get_model("invoicing", "NumberSeries").objects.all():
        row.key = f"{row.key}{MARKS[row.kind]}-{{year}}-{{number}}"
        row.save()


def to_prefixes(apps, schema_editor):
    for row in apps.get_model("invoicing", "NumberSeries").objects.all():
        row.key = row.key.removesuffix("-{year}-{number}").removesuffix(MARKS[row.kind])
        row.save()


class Migration(migrations.Migration):

    dependencies = [("invoicing", "0017_written_in_sets")]

    operations = [
        migrations.RemoveConstraint(model_name="numberseries", name="numberseries_once"),
        migrations.RemoveConstraint(model_name="numberseries", name="numberseries_year_sane"),
        migrations.RenameField(model_name="numberseries", old_name="prefix", new_name="key"),
        migrations.AlterField(
            model_name="numberseries",
            name="key",
            field=models.CharField(
                "format", max_length=60, help_text="However many digits its numbers have at least."
            ),
        ),
        migrations.AlterField(
            model_name="numberseries",
            name="year",
            field=models.PositiveSmallIntegerField(help_text="0 where numbers never begin anew."),
        ),
        migrations.AlterField(
            model_name="numberseries",
            name="kind",
            field=models.CharField(
                max_length=12,
                choices=[("invoice", "Invoices"), ("credit_note", "Credit notes")],
                default="invoice",
            ),
        ),
        migrations.RunPython(to_keys, to_prefixes),
        migrations.AddConstraint(
            model_name="numberseries",
            constraint=models.UniqueConstraint(
                fields=["organization", "kind", "key", "year"], name="numberseries_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="numberseries",
            constraint=models.CheckConstraint(
                name="numberseries_year_sane", condition=models.Q(year__gte=1970) | models.Q(year=0)
            ),
        ),
    ]
