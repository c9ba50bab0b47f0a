"""The servers an instance stands on: embedded ones, or those the environment names."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.stack.process import tail, unprivileged_account, wait_until
from config.stack.servers import Postgres, StackError, Valkey, prepare_folders
from config.stack.supervisor import Supervisor

START_SECONDS = 60.0


def start_backends(supervisor: Supervisor, var: Path, *, for_tests: bool = False) -> dict[str, str]:
    """Start the servers that the environment does not name and give the addresses of both.

    Raises:
        StackError: a server does not come up; with the tail of its log.
    """
    account = unprivileged_account()
    addresses: dict[str, str] = {}
    folders = prepare_folders(var, account)
    if not os.environ.get("DATABASE_URL"):
        postgres = Postgres(folders, account=account, for_tests=for_tests)
        postgres.initialise()
        supervisor.add(postgres.program)
        if not wait_until(postgres.is_ready, seconds=START_SECONDS):
            raise StackError(f"PostgreSQL does not start:\n{tail(folders.log / 'postgres.log')}")
        postgres.create_database()
        addresses["DATABASE_URL"] = postgres.url
    if not os.environ.get("REDIS_URL"):
        valkey = Valkey(folders, account=account)
        supervisor.add(valkey.program)
        if not wait_until(valkey.is_ready, seconds=START_SECONDS):
            raise StackError(f"Valkey does not start:\n{tail(folders.log / 'valkey.log')}")
        addresses["REDIS_URL"] = valkey.url
    return addresses


def addresses_of(var: Path) -> dict[str, str]:
    """Give the addresses of the servers of an instance that runs in a data folder."""
    account = unprivileged_account()
    folders = prepare_folders(var, account)
    servers = {
        "DATABASE_URL": Postgres(folders, account=account).url,
        "REDIS_URL": Valkey(folders, account=account).url,
    }
    return {name: os.environ.get(name) or address for name, address in servers.items()}


@contextmanager
def running_backends(var: Path, *, for_tests: bool = False) -> Iterator[dict[str, str]]:
    """Run the servers for as long as the block lasts, with their addresses in the environment."""
    supervisor = Supervisor()
    before = dict(os.environ)
    try:
        addresses = start_backends(supervisor, var, for_tests=for_tests)
        os.environ.update(addresses)
        yield addresses
    finally:
        supervisor.stop()
        os.environ.clear()
        os.environ.update(before)
