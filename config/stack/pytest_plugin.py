"""Gives a test run its own PostgreSQL and Valkey before Django reads its settings."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from config.stack.backends import start_backends
from config.stack.supervisor import Supervisor

OWN_SERVERS = "METERGATE_TEST_SERVERS"

_supervisor: Supervisor | None = None
_var: Path | None = None


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Start the servers in the controlling process; workers inherit the addresses."""
    global _supervisor, _var
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker and OWN_SERVERS in os.environ:
        # Each worker has a database of its own in both servers: heartbeats of one are not news to another.
        number = 1 + int(worker.removeprefix("gw")) % 15
        os.environ["REDIS_URL"] = os.environ["REDIS_URL"].replace("?db=0", f"?db={number}")
    if worker or (os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL")):
        return
    # A folder a run: two runs at once never meet, and nothing of an earlier one can help or harm.
    _var = Path(tempfile.mkdtemp(prefix="metergate-test-"))
    _var.chmod(0o711)
    _supervisor = Supervisor()
    os.environ.update(start_backends(_supervisor, _var, for_tests=True))
    os.environ[OWN_SERVERS] = "1"
    os.environ.setdefault("VAR", str(_var))


def pytest_unconfigure() -> None:
    global _supervisor
    if _supervisor is not None:
        _supervisor.stop()
        _supervisor = None
        if _var is not None:
            shutil.rmtree(_var, ignore_errors=True)
