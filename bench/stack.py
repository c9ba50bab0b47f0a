"""A Metergate of its own to measure: fresh servers and data in a temporary folder, programs as in production."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from config.stack.servers import free_port

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def running_stack() -> Iterator[dict[str, Any]]:
    """Run an instance with the small made traffic; gives the facts of demo.json and `database_url`."""
    with tempfile.TemporaryDirectory(prefix="metergate-bench-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o711)
        environment = {k: v for k, v in os.environ.items() if k not in {"DATABASE_URL", "REDIS_URL", "DETACH"}}
        environment |= {"VAR": folder, "PORT": str(free_port(8900)), "METERGATE_SHARED": f"{folder}/none"}
        process = subprocess.Popen(
            [sys.executable, "-m", "config.stack", "demo"], cwd=ROOT, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        facts = Path(folder) / "demo.json"
        try:
            end = time.monotonic() + 180
            while not facts.exists():
                if process.poll() is not None or time.monotonic() > end:
                    process.terminate()
                    raise RuntimeError(process.communicate(timeout=60)[0].decode())
                time.sleep(0.1)
            run = Path(folder) / "run"
            yield json.loads(facts.read_text()) | {
                "var": folder, "database_url": f"postgresql://metergate@/metergate?host={run}",
            }  # fmt: skip
        finally:
            process.terminate()
            process.communicate(timeout=60)


def settings_of(database: Any) -> dict[str, str]:
    """Give what the figures depend on: machine, versions, settings, commit."""
    names = ("server_version", "shared_buffers", "synchronous_commit", "fsync", "max_wal_size", "wal_compression")
    found = {name: database.execute(f"SHOW {name}").fetchone()[0] for name in names}
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "cores": str(os.cpu_count()),
        "python": sys.version.split()[0],
        "commit": commit or "unknown",
        **found,
    }
