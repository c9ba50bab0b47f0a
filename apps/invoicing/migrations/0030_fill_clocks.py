from django.db import migrations


# In a transaction of its own: what the update leaves to be checked at the end allows no other index before.
FILL = """
    UPDATE invoicing_invoice AS invoice SET test_clock_id = subscription.test_clock_id
    FROM subscriptions_subscription AS subscription
    WHERE subscription.id = invoice.subscription_id AND subscription.test_clock_id IS NOT NULL
"""


class Migration(migrations.Migration):

    dependencies = [
        ('invoicing', '0029_clock_of_invoices'),
    ]

    operations = [
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
