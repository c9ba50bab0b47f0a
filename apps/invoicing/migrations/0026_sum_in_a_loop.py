from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('invoicing', '0025_usage_less_grants'),
    ]

    operations = [
        # It is asked for every line that is written. A query of a function is planned and started anew each time,
        # and cost ten times as much as the additions.
        migrations.RunSQL(
            """
            CREATE OR REPLACE FUNCTION invoicing_sum(amounts numeric[]) RETURNS numeric
            LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
            AS $$
            DECLARE
                total numeric := 0;
                amount numeric;
            BEGIN
                FOREACH amount IN ARRAY amounts LOOP
                    IF amount IS NOT NULL THEN total := total + amount; END IF;
                END LOOP;
                RETURN total;
            END
            $$;
            """,
            """
            CREATE OR REPLACE FUNCTION invoicing_sum(amounts numeric[]) RETURNS numeric
            LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
            AS $$ SELECT COALESCE(sum(amount), 0) FROM unnest(amounts) AS amount $$;
            """,
        ),
    ]
