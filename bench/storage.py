"""Bytes an event takes in the log, in PostgreSQL and in ClickHouse, and how fast the relay carries events over."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.eventlog import make_blocks, make_merchants
from bench.stack import ROOT, settings_of
from config.stack.backends import running_backends
from config.stack.servers import free_port

SIZE = 1_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", type=int, default=200_000)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Stage and merge events, relay them to ClickHouse's engine where it is installed, and print sizes and rates."""
    if "django.conf" in sys.modules:
        # Another measurement of this run has Django on its own database.
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            command = [sys.executable, "-m", "bench", "--json", file.name, "storage"]
            subprocess.run([*command, "--events", str(arguments.events)], cwd=ROOT, check=True)
            figures: dict[str, Any] = json.load(file)["storage"]
            return figures
    with tempfile.TemporaryDirectory(prefix="metergate-bench-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o711)
        engine = None
        try:
            if find_spec("chdb") is not None:
                port = free_port(18_000)
                os.environ["EVENT_STORE_URL"] = f"clickhouse://127.0.0.1:{port}/default"
                command = [sys.executable, "-m", "tests.metering.eventstore.server", str(port)]
                engine = subprocess.Popen(command, cwd=ROOT)
                time.sleep(5)
            with running_backends(Path(folder)):
                os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
                import django

                django.setup()
                return _measure(arguments.events)
        finally:
            if engine is not None:
                engine.kill()
                engine.wait()


def _measure(events: int) -> dict[str, Any]:
    from django.core.management import call_command
    from django.db import connection

    from apps.metering.eventlog import STAGING
    from apps.metering.eventstore import event_store
    from apps.metering.services.merge import drain

    call_command("migrate", interactive=False, verbosity=0)
    connection.ensure_connection()
    settings = settings_of(connection.connection) | {"events": str(events)}
    print(f"settings: {json.dumps(settings)}")
    blocks = make_blocks(make_merchants(16), events // SIZE, SIZE, "storage")
    row_bytes = sum(len(block.rows) for block in blocks)
    figures = {
        "block_bytes": row_bytes / events,
        "log_bytes_a_copy": sum(len(zlib.compress(block.rows, 1)) for block in blocks) / events,
    }
    before = _wal()
    for block in blocks:
        STAGING.append(block)
    figures["staged_wal_bytes"] = (_wal() - before) / events
    before = _wal()
    began = time.perf_counter()
    drain()
    figures["merged_per_second_one_worker"] = events / (time.perf_counter() - began)
    figures["merged_wal_bytes"] = (_wal() - before) / events
    for name, table in (("event", "metering_event"), ("key", "metering_key"), ("window", "metering_window")):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_total_relation_size(%s::regclass)"
                " + coalesce((SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree(%s::regclass)), 0)",
                [table, table],
            )
            figures[f"postgresql_{name}_bytes"] = float(cursor.fetchone()[0]) / events
    if event_store().is_relayed:
        figures |= _relay(events)
    for name, value in figures.items():
        print(f"{name:<32}{value:>14,.1f}")
    return {"settings": settings, "figures": figures}


def _wal() -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")
        return int(cursor.fetchone()[0])


def _relay(events: int) -> dict[str, float]:
    import clickhouse_connect
    from django.conf import settings

    from apps.metering.eventstore import event_store
    from apps.metering.services.relaying import relay_events, start_relay

    store = event_store()
    start_relay(store=store)
    relay_events(store=store)
    began = time.perf_counter()
    while relay_events(store=store).events:
        pass
    elapsed = time.perf_counter() - began
    client = clickhouse_connect.get_client(dsn=settings.EVENT_STORE_URL)
    client.command("OPTIMIZE TABLE metering_event FINAL")
    stored = client.query("SELECT count() FROM metering_event").result_rows[0][0]
    size = client.query(
        "SELECT sum(bytes_on_disk) FROM system.parts WHERE table = 'metering_event' AND active"
    ).result_rows[0][0]
    client.close()
    if stored != events:
        raise RuntimeError(f"{stored} events are in ClickHouse, {events} were stored")
    return {"relayed_per_second": events / elapsed, "clickhouse_bytes": float(size) / events}
