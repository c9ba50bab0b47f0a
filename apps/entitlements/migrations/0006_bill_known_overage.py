from django.db import migrations

# How often the prices that draw on a right bill what it does not cover: of several the shortest.
FILL = """
UPDATE entitlements_entitlement AS e SET billing_cadence = billed.cadence
FROM (
    SELECT DISTINCT ON (m.entitlement_id) m.entitlement_id,
           coalesce(nullif(p.billing_cadence, ''), s.billing_cadence) AS cadence
    FROM entitlements_entitlementmeter AS m
    JOIN catalog_price AS p ON p.id = m.price_id AND p.metric_id IS NOT NULL AND NOT p.is_flat
    JOIN entitlements_entitlement AS r ON r.id = m.entitlement_id
    JOIN subscriptions_subscription AS s ON s.id = r.subscription_id
    WHERE coalesce(nullif(p.billing_cadence, ''), s.billing_cadence) <> 'P0D'
    ORDER BY m.entitlement_id, coalesce(nullif(p.billing_cadence, ''), s.billing_cadence)::interval
) AS billed
WHERE billed.entitlement_id = e.id AND e.is_soft_limit AND NOT e.preserves_overage AND e.pool_id IS NULL
"""


class Migration(migrations.Migration):
    dependencies = [("entitlements", "0005_billed_overage")]

    operations = [migrations.RunSQL(FILL, migrations.RunSQL.noop)]
