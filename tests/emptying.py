"""Emptying tables after a test that really commits.

Django truncates all of them, which makes new files for a thousand tables and indexes, and fills in its permissions
again. Most tests leave rows in a few tables only, so these are deleted instead: a tenth of the time.
"""

from functools import cache

from django.db import connection, transaction
from django.test import TransactionTestCase

# What migrating fills in, the same for all tests.
KEPT = {"django_content_type", "auth_permission"}
# Not Django's: they belong to the database alone.
EVENTS = (
    "metering_stagedevent", "metering_key", "metering_event", "metering_window", "metering_windowvalue",
    "metering_windowgone", "metering_logblock", "metering_storeposition", "metering_storechange",
)  # fmt: skip

_flush = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]


def install() -> None:
    """Have tests that commit taken down by this."""
    TransactionTestCase._fixture_teardown = _take_down  # type: ignore[attr-defined]


def _take_down(case: TransactionTestCase) -> None:
    if _may_leave_out_triggers():
        empty_tables()
        return
    _flush(case)
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(EVENTS)}")


@cache
def _may_leave_out_triggers() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        (is_superuser,) = cursor.fetchone()
    return bool(is_superuser)


def empty_tables() -> None:
    """Delete all rows that tests made, without triggers; waits for whoever is still writing."""
    names = {*connection.introspection.django_table_names(only_existing=True, include_views=False), *EVENTS} - KEPT
    quoted = [connection.ops.quote_name(name) for name in sorted(names)]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {', '.join(quoted)} IN EXCLUSIVE MODE")
        cursor.execute(" UNION ALL ".join(f"SELECT '{name}' WHERE EXISTS (SELECT FROM {name})" for name in quoted))
        found = [name for (name,) in cursor.fetchall()]
        cursor.execute("SET LOCAL session_replication_role = replica")
        for name in found:
            cursor.execute(f"DELETE FROM {name}")
