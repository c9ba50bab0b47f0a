"""Reading by statements whose plan the session keeps: planning a large one costs more than running it."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from apps.kernel.database import database_name

Rows = list[tuple[Any, ...]]
Read = Callable[[str, Mapping[str, Any]], Rows]


def read_prepared(sql: str, values: Mapping[str, Any]) -> Rows:
    """Run a statement that is the same text every time, on Django's connection and in its transaction.

    Django sends values within the statement, so that nothing could be prepared.
    """
    # Looked up once: the thread's own is found anew at each use of Django's name for it.
    return _read(connections[DEFAULT_DB_ALIAS], sql, values)


def _read(connection: BaseDatabaseWrapper, sql: str, values: Mapping[str, Any]) -> Rows:
    connection.ensure_connection()
    connection.validate_no_broken_transaction()
    began = time.monotonic()
    with connection.wrap_database_errors:
        cursor = _cursor_of(connection)
        cursor.execute(sql, values, prepare=True)
        rows: Rows = cursor.fetchall()
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


class SharedConnection:
    """One connection that the threads of a process read by, one after the other and each read by itself.

    Every backend of the database has its own copy of a prepared plan, and of all that it looks up to run it. Where
    sixteen threads have a backend each, none of these copies stays in the processor's caches; the one that all share
    does, and a large statement then costs half.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: BaseDatabaseWrapper | None = None
        self._database = ""

    def read(self, sql: str, values: Mapping[str, Any]) -> Rows:
        """Run a statement that only reads, as `read_prepared` does, and see what is committed.

        Raises:
            OperationalError, InterfaceError: the database cannot be reached.
        """
        with self._lock:
            connection = self._usable()
            was_open = connection.connection is not None
            try:
                return _read(connection, sql, values)
            except (OperationalError, InterfaceError):
                connection.close()
                if not was_open:
                    raise
            # It may have ended while nobody read by it, as when the database was restarted.
            return _read(connection, sql, values)

    def close(self) -> None:
        """End the connection, as before a database is dropped; the next read opens another."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def forget(self) -> None:
        """Leave the connection to the process that this one was forked from."""
        self._lock = threading.Lock()
        self._connection = None

    def _usable(self) -> BaseDatabaseWrapper:
        database = database_name()
        if self._connection is None or self._database != database:
            if self._connection is not None:
                self._connection.close()
            self._database, self._connection = database, connections.create_connection(DEFAULT_DB_ALIAS)
            # The lock has them use it in turns.
            self._connection.inc_thread_sharing()
        # As Django does at the end of each request: closes one that is older than it may become.
        self._connection.close_if_unusable_or_obsolete()
        return self._connection


shared = SharedConnection()
os.register_at_fork(after_in_child=shared.forget)
