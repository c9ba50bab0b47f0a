"""How far back and ahead events may lie has bounds that arithmetic can bear."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('organizations', '0001_initial'),
    ]

    operations = [
        migrations.AlterField(
            model_name='organization',
            name='event_seconds_ahead',
            field=models.PositiveIntegerField(default=300, help_text='Meter events further ahead than this are kept aside until their time has come.'),
        ),
        migrations.AlterField(
            model_name='organizationevent',
            name='event_seconds_ahead',
            field=models.PositiveIntegerField(default=300, help_text='Meter events further ahead than this are kept aside until their time has come.'),
        ),
        migrations.AddConstraint(
            model_name='organization',
            constraint=models.CheckConstraint(condition=models.Q(('event_days_back__lte', 36500), ('event_seconds_ahead__lte', 31536000)), name='organization_event_window_in_reach', violation_error_message='Accept events at most 100 years back and a year ahead.'),
        ),
    ]
