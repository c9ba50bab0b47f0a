"""Many subscribers at once: one made by the services, the others copied from it row by row."""

from collections.abc import Mapping

from django.db import connection

# What a subscriber with an open period has, in the order of its references. `{n}` is the number of the copy.
COPIED: Mapping[str, Mapping[str, str]] = {
    "organizations_organization": {"email": "'ap' || n || '@bench.test'", "name": "'Customer ' || n"},
    "customers_customer": {"consumer_id": "{organizations_organization}"},
    "subscriptions_subscription": {"customer_id": "{customers_customer}"},
    "invoicing_invoice": {
        "customer_id": "{customers_customer}",
        "subscription_id": "{subscriptions_subscription}",
    },
}


def copy_subscriber(keys: Mapping[str, int], copies: int) -> None:
    """Write `copies` more subscribers like one.

    Args:
        keys: by table, the row to copy.
        copies: how many; the n-th row of a table gets the n-th key after the last.
    """
    with connection.cursor() as cursor:
        # Copies have no history of their own.
        cursor.execute("SET session_replication_role = replica")
        bases: dict[str, str] = {}
        for table, changes in COPIED.items():
            cursor.execute(f"SELECT max(id) FROM {table}")
            bases[table] = f"{cursor.fetchone()[0]} + n"
            cursor.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public'"
                " AND table_name = %s ORDER BY ordinal_position",
                [table],
            )
            columns = [row[0] for row in cursor.fetchall()]
            values = {
                "id": bases[table],
                "public_id": "split_part(public_id, '_', 1) || '_' || replace(gen_random_uuid()::text, '-', '')",
                **{name: value.format(**bases) for name, value in changes.items()},
            }
            cursor.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) OVERRIDING SYSTEM VALUE"
                f" SELECT {', '.join(values.get(name, name) for name in columns)}"
                f" FROM {table}, generate_series(1, {copies}) AS n WHERE id = {keys[table]}"
            )
            cursor.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))")
        cursor.execute("SET session_replication_role = origin")
        cursor.execute("ANALYZE")
