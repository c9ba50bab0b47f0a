"""A request's first look at its connection: no round trip for a healthy one, and a dead one is never used."""

from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace

import psycopg
import pytest
from django.db import connection, connections

from apps.kernel.postgresql import base
from config.celery import look_at_connections

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grow by one with every round trip that a look at the connection makes."""
    found: list[None] = []
    ask: Callable[[base.DatabaseWrapper], bool] = base.base.DatabaseWrapper.is_usable

    def is_usable(self: base.DatabaseWrapper) -> bool:
        found.append(None)
        return ask(self)

    monkeypatch.setattr(base.base.DatabaseWrapper, "is_usable", is_usable)
    return found


def test_a_connection_used_a_moment_ago_costs_no_round_trip(asked: list[None]) -> None:
    connection.ensure_connection()
    assert connection.is_usable()
    asked.clear()
    assert connection.is_usable()
    assert asked == []


def test_an_idle_connection_is_asked(asked: list[None], monkeypatch: pytest.MonkeyPatch) -> None:
    connection.ensure_connection()
    assert connection.is_usable()
    asked.clear()
    monkeypatch.setattr(base, "TRUSTED_SECONDS", 0.0)
    assert connection.is_usable()
    assert asked == [None]


def end_session() -> int:
    """Let the server end the session of this connection, as a restart does; gives its number."""
    connection.ensure_connection()
    pid: int = connection.connection.info.backend_pid
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    finally:
        other.close()
    return pid


def test_a_session_that_the_server_ended_is_not_used() -> None:
    connection.ensure_connection()
    assert connection.is_usable()
    end_session()
    assert not connection.is_usable()
    with pytest.raises(psycopg.OperationalError):
        connection.connection.execute("SELECT 1")
    connection.close()


def test_a_connection_that_was_closed_here_is_not_used() -> None:
    connection.ensure_connection()
    assert connection.is_usable()
    connection.connection.close()
    assert not connection.is_usable()
    connection.close()


def test_a_worker_keeps_its_connection_from_task_to_task_and_replaces_a_broken_one() -> None:
    task = SimpleNamespace(request=SimpleNamespace(is_eager=False))
    connection.ensure_connection()
    kept = connection.connection
    look_at_connections(task=task)
    assert connection.connection is kept
    ended = end_session()
    look_at_connections(task=task)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone()[0] != ended


def test_times_are_read_as_django_reads_them() -> None:
    texts = [
        "2026-02-28T23:59:59.999999+00",
        "1970-01-01T00:00:00+00",
        "2026-07-01T12:30:00.5+02",
        "0001-01-01T00:00:00+00",
    ]
    with connection.cursor() as cursor:
        for text in texts:
            cursor.execute("SELECT %s::timestamptz", [text])
            found = cursor.fetchone()[0]
            assert found == datetime.fromisoformat(text)
            assert found.utcoffset() == timedelta(0)
    with connection.chunked_cursor() as cursor:
        cursor.execute("SELECT %s::timestamptz", [texts[0]])
        assert cursor.fetchone()[0] == datetime.fromisoformat(texts[0])
