"""Reading by statements whose plan the session keeps: planning a large one costs more than running it."""

import time
from collections.abc import Mapping
from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections


def read_prepared(sql: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Run a statement that is the same text every time, on Django's connection and in its transaction.

    Django sends values within the statement, so that nothing could be prepared.
    """
    # Looked up once: the thread's own is found anew at each use of Django's name for it.
    connection = connections[DEFAULT_DB_ALIAS]
    connection.ensure_connection()
    connection.validate_no_broken_transaction()
    raw = connection.connection
    began = time.monotonic()
    with connection.wrap_database_errors, psycopg.Cursor(raw) as cursor:
        cursor.execute(sql, values, prepare=True)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    if connection.queries_logged:
        connection.queries_log.append({"sql": sql, "time": f"{time.monotonic() - began:.3f}"})
    return rows
