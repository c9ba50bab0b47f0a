"""A request's first look at its connection: no round trip for a healthy one, and a dead one is never used."""

from collections.abc import Callable

import psycopg
import pytest
from django.db import connection, connections

from apps.kernel.postgresql import base

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


def test_a_session_that_the_server_ended_is_not_used() -> None:
    connection.ensure_connection()
    assert connection.is_usable()
    pid = connection.connection.info.backend_pid
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    finally:
        other.close()
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
