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
    began = time.monotonic()
    with connection.wrap_database_errors:
        cursor = _cursor_of(connection)
        cursor.execute(sql, values, prepare=True)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    if connection.queries_logged:
        connection.queries_log.append({"sql": sql, "time": f"{time.monotonic() - began:.3f}"})
    return rows


def _cursor_of(connection: Any) -> "psycopg.Cursor[Any]":
    """Give the cursor that a connection keeps for this: making one costs as much as sending a statement."""
    raw = connection.connection
    cursor: psycopg.Cursor[Any] | None = getattr(connection, "prepared_cursor", None)
    if cursor is None or cursor.connection is not raw:
        cursor = connection.prepared_cursor = psycopg.Cursor(raw)
    return cursor
