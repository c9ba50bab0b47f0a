"""A running Metergate: servers, web, workers and beat, as `make demo` starts it, with its own port and folder."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment_of(var: Path, port: int) -> dict[str, str]:
    """Give the environment of an instance with servers of its own and the small made traffic."""
    kept = {
        k: v for k, v in os.environ.items() if k not in {"DATABASE_URL", "REDIS_URL", "PORT", "DETACH", "BASE_URL"}
    }
    return kept | {"VAR": str(var), "METERGATE_SHARED": f"{var}/none", "PORT": str(port)}


@contextmanager
def running_stack(var: Path, port: int) -> Iterator[dict[str, Any]]:
    """Run an instance in the foreground of a child process; gives the facts of demo.json."""
    process = subprocess.Popen(
        [sys.executable, "-m", "config.stack", "demo"], cwd=ROOT, env=environment_of(var, port),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    facts = var / "demo.json"
    try:
        end = time.monotonic() + 180
        while not facts.exists():
            if process.poll() is not None or time.monotonic() > end:
                process.terminate()
                output = process.communicate(timeout=60)[0].decode()
                pytest.fail(f"the stack did not start:\n{output}")
            time.sleep(0.1)
        yield json.loads(facts.read_text())
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="session")
def stack() -> Iterator[dict[str, Any]]:
    """The facts of an instance that lives as long as the test session."""
    with tempfile.TemporaryDirectory(prefix="metergate-live-") as folder:
        Path(folder).chmod(0o711)
        with running_stack(Path(folder), free_port()) as facts:
            yield facts | {"var": folder}
