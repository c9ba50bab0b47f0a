"""The embedded servers come back after a kill, with what was committed."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from config.stack.backends import start_backends
from config.stack.process import wait_until
from config.stack.servers import prepare_folders
from config.stack.supervisor import Supervisor


@pytest.fixture
def own_servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Supervisor, dict[str, str]]]:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)
    with tempfile.TemporaryDirectory(prefix="metergate-servers-") as folder:
        Path(folder).chmod(0o711)
        supervisor = Supervisor()
        try:
            yield supervisor, start_backends(supervisor, Path(folder), for_tests=True)
        finally:
            supervisor.stop()


def test_postgres_restarts_after_a_kill(own_servers: tuple[Supervisor, dict[str, str]]) -> None:
    supervisor, addresses = own_servers
    with psycopg.connect(addresses["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (7)")
    before = supervisor.pid_of("postgres")
    os.kill(before, signal.SIGKILL)

    def answers() -> bool:
        try:
            with psycopg.connect(addresses["DATABASE_URL"], connect_timeout=2) as connection:
                return connection.execute("SELECT n FROM kept").fetchone() == (7,)
        except psycopg.Error:
            return False

    assert wait_until(lambda: supervisor.pid_of("postgres") != before and answers(), seconds=30)


def test_valkey_restarts_after_a_kill(own_servers: tuple[Supervisor, dict[str, str]]) -> None:
    supervisor, addresses = own_servers
    client = redis.Redis.from_url(addresses["REDIS_URL"])
    client.set("kept", "7")
    before = supervisor.pid_of("valkey")
    os.kill(before, signal.SIGKILL)

    def answers() -> bool:
        try:
            return client.get("kept") == b"7"
        except redis.RedisError:
            return False

    assert wait_until(lambda: supervisor.pid_of("valkey") != before and answers(), seconds=30)
    client.close()


def test_a_long_folder_gets_its_sockets_elsewhere(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    folders = prepare_folders(deep, None)
    assert len(str(folders.run / ".s.PGSQL.5432")) < 107
