"""A running Metergate: servers, web, workers and beat, as `make demo` starts it, with its own port and folder."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="session")
def stack() -> Iterator[dict[str, Any]]:
    """The facts of demo.json of an instance that lives as long as the test session."""
    with tempfile.TemporaryDirectory(prefix="metergate-live-") as folder:
        Path(folder).chmod(0o711)
        environment = {
            k: v for k, v in os.environ.items() if k not in {"DATABASE_URL", "REDIS_URL", "PORT", "DETACH"}
        }
        # The made traffic is smaller than the recorded one, and the same on every machine.
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        environment |= {"VAR": folder, "METERGATE_SHARED": f"{folder}/none", "PORT": str(port)}
        process = subprocess.Popen(
            [sys.executable, "-m", "config.stack", "demo"], cwd=ROOT, env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        facts = Path(folder) / "demo.json"
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
