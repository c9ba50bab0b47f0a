"""What the database alone can do with the same rows: a bare COPY, and a bare merge without any web or worker."""

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

import psycopg

from apps.metering.services.merge_sql import MERGE, SETTINGS, SPAN
from bench.stack import ROOT

# As in the services, which load Django's models.
BATCH, BUCKETS = 100_000, 4

COLUMNS = (
    "bucket, organization_id, key_hash, content_hash, public_id, idempotency_key, event_type, source, subject_id,"
    " external_id, occurred_at, accepted_at, data, metrics, dimensions, quantities, hashes"
)
# The staged rows of a run, put together again from what the merge made of them.
ROWS = f"""
SELECT mod(('x' || right(k.key_hash::text, 1))::bit(4)::int, {BUCKETS}), e.organization_id, k.key_hash,
       k.content_hash, e.public_id, e.idempotency_key, e.event_type, e.source, e.subject_id, e.external_id,
       e.occurred_at, e.accepted_at, e.data, e.metrics, e.dimensions, e.quantities, e.hashes
FROM metering_event e
JOIN metering_key k ON k.organization_id = e.organization_id AND k.public_id = e.public_id
WHERE starts_with(e.idempotency_key, 'PREFIX') ORDER BY e.id
"""
DATABASE = "metergate_bare"


@dataclass(frozen=True, slots=True)
class Limits:
    """Rows a second of the bare statements on the same server in the same run."""

    copy: float
    merge: float


def measure_limits(database_url: str, database: psycopg.Connection[Any], key_prefix: str) -> Limits:
    """Repeat a run's rows in a second database of the same server, by statements alone.

    The merge takes bucket after bucket over two connections, as many as the machine has cores.
    """
    address = _bare_database(database_url, database)
    with database.cursor().copy(f"COPY ({ROWS.replace('PREFIX', key_prefix)}) TO STDOUT") as copy:
        text = b"".join(bytes(block) for block in copy)
    rows = text.count(b"\n")
    with psycopg.connect(address, autocommit=True) as bare:
        bare.execute("TRUNCATE metering_stagedevent, metering_key, metering_event, metering_window")
        began = time.perf_counter()
        with bare.cursor().copy(f"COPY metering_stagedevent ({COLUMNS}) FROM STDIN") as copy:
            for start in range(0, len(text), 1 << 20):
                copy.write(text[start : start + (1 << 20)])
        copied = rows / (time.perf_counter() - began)
    return Limits(copy=copied, merge=rows / _merge_all(address, rows))


def _merge_all(address: str, rows: int) -> float:
    taken: list[int] = []

    def work(half: int) -> None:
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(SETTINGS.replace("true", "false"))
            buckets = list(range(half * BUCKETS // 2, (half + 1) * BUCKETS // 2))
            while True:
                found = connection.execute(SPAN, {"buckets": buckets}).fetchone()
                if found is None or not found[2]:
                    return
                last = found[1] if found[2] <= BATCH else found[0] + BATCH - 1
                values = {"buckets": buckets, "last": last, "latest": [], "levels": [], "now": "2026-03-02T00:00:00Z"}
                found = connection.execute(MERGE, values).fetchone()
                assert found is not None
                taken.append(found[0])

    began = time.perf_counter()
    threads = [threading.Thread(target=work, args=(half,)) for half in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - began
    if sum(taken) != rows:
        raise RuntimeError(f"the bare merge took {sum(taken)} of {rows} rows")
    return elapsed


def _bare_database(database_url: str, database: psycopg.Connection[Any]) -> str:
    address = database_url.replace("/metergate?", f"/{DATABASE}?")
    known = database.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
    if known is None:
        database.execute(f"CREATE DATABASE {DATABASE}")
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
            cwd=ROOT, env=os.environ | {"DATABASE_URL": address}, check=True,
        )  # fmt: skip
    return address
