"""Merging into full tables: the rate with millions of events stored, over the rate into empty ones, in one run."""

import argparse
import json
import os
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.ingest import TEMPLATE, TYPE
from bench.stack import settings_of
from config.stack.backends import running_backends

CHUNK = 1_000_000
WARM_UP_ROUNDS = 3
SUBJECTS, MODELS = 250, 4

# What a merge leaves behind: a key, an event of two metrics, in the month that the new events fall into.
FILL = """
WITH made AS (
    SELECT n, gen_random_uuid() AS hash, %(start)s::timestamptz + (n %% 2500000) * interval '1 second' AS at
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
), key AS (
    INSERT INTO metering_key (organization_id, key_hash, content_hash, public_id, accepted_at)
    SELECT %(organization)s, hash, hash, 'evt_' || lpad(to_hex(n), 20, '0'), now() FROM made
)
INSERT INTO metering_event
    (public_id, organization_id, idempotency_key, event_type, source, subject_id, external_id, occurred_at,
     accepted_at, data, metrics, dimensions, quantities)
SELECT 'evt_' || lpad(to_hex(n), 20, '0'), %(organization)s, 'filled-' || n, %(type)s, 'bench',
       (%(subjects)s::bigint[])[1 + n %% cardinality(%(subjects)s::bigint[])], '', at, at,
       jsonb_build_object('model', 'model-0', 'input', 100, 'output', 10), %(metrics)s::bigint[],
       %(dimensions)s::bigint[], ARRAY[100, 10]::numeric[]
FROM made
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stored", type=int, default=20_000_000, help="events stored before the second measurement")
    parser.add_argument("--events", type=int, default=200_000, help="events merged in a round")
    parser.add_argument("--rounds", type=int, default=5)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Merge rounds of new events into empty tables, fill these, merge as many again, print both rates."""
    with tempfile.TemporaryDirectory(prefix="metergate-bench-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o711)
        with running_backends(Path(folder)):
            os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
            import django

            django.setup()
            return _measure(arguments.stored, arguments.events, arguments.rounds)


def _measure(stored: int, events: int, rounds: int) -> dict[str, Any]:
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", interactive=False, verbosity=0)
    merchant = _merchant()
    connection.ensure_connection()
    settings = settings_of(connection.connection) | {"events": str(events), "stored": str(stored)}
    print(f"settings: {json.dumps(settings)}")
    # The first round makes subjects, dimensions and windows, so it is not one of those that count.
    _round(merchant, events, "first")
    empty = [_round(merchant, events, f"empty-{turn}") for turn in range(rounds)]
    print(f"empty: {', '.join(f'{rate:,.0f}' for rate in empty)} events/s", flush=True)
    _fill(merchant, stored)
    # After a checkpoint each page is written out whole once; in daily work that is once in fifteen minutes.
    for turn in range(WARM_UP_ROUNDS):
        _round(merchant, events, f"warm-{turn}")
    full = [_round(merchant, events, f"full-{turn}") for turn in range(rounds)]
    print(f"with {stored:,} stored: {', '.join(f'{rate:,.0f}' for rate in full)} events/s")
    figures = {
        "empty_per_second": statistics.median(empty),
        "full_per_second": statistics.median(full),
        "ratio": statistics.median(full) / statistics.median(empty),
    }
    print("median: " + ", ".join(f"{name} {value:,.2f}" for name, value in figures.items()))
    return {"settings": settings, "median": figures}


def _merchant() -> Any:
    from apps.catalog.services.products import create_metric, create_product
    from apps.organizations.models import User
    from apps.organizations.services.organizations import create_merchant

    owner = User.objects.create_user("owner@bench.test", "a long enough password", is_staff=True)
    merchant = create_merchant(name="Bench", email="billing@bench.test", owner=owner)
    product = create_product(organization_id=merchant.pk, name="Bench", description="", metadata={})
    for name in ("input", "output"):
        create_metric(
            product=product, name=f"Bench {name}", description="", unit="tokens", aggregation="SUM",
            event_type=TYPE, value_property=f"$.{name}", group_by={"model": "$.model"},
        )  # fmt: skip
    return merchant


def _round(merchant: Any, events: int, tag: str) -> float:
    """Stage events, then merge them over one connection; gives events merged a second."""
    from apps.metering.domain.wire import read_events
    from apps.metering.services.merge import merge_buckets, vacuum_bucket
    from apps.metering.services.staging import BUCKETS, accept_events

    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    for start in range(0, events, 1_000):
        body = ",".join(
            TEMPLATE % {
                "subject": f"bench-{number % SUBJECTS}",
                "time": (hour + timedelta(seconds=number % 3600)).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "key": f"{tag}-{number}", "model": f"model-{number % MODELS}",
                "input": 100 + number % 900, "output": 10 + number % 90,
            }
            for number in range(start, start + 1_000)
        )  # fmt: skip
        accept_events(
            read_events(f"[{body}]".encode(), is_lines=False, at_most=0),
            organization_id=merchant.pk,
            organization_public_id=merchant.public_id,
            as_of=datetime.now(UTC),
        )
    merged, began = 0, time.perf_counter()
    while taken := merge_buckets(buckets=range(BUCKETS)).taken:
        merged += taken
    elapsed = time.perf_counter() - began
    if merged != events:
        raise RuntimeError(f"{merged} of {events} events were merged")
    for bucket in range(BUCKETS):
        vacuum_bucket(bucket)
    return merged / elapsed


def _fill(merchant: Any, stored: int) -> None:
    from django.db import connection

    from apps.catalog.models import BillableMetric
    from apps.metering.models import Dimension, Subject

    values: dict[str, Any] = {
        "organization": merchant.pk,
        "type": TYPE,
        "start": datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0),
        "subjects": list(Subject.objects.filter(organization=merchant).values_list("pk", flat=True)),
        "metrics": list(BillableMetric.objects.order_by("pk").values_list("pk", flat=True)),
        "dimensions": [
            Dimension.objects.filter(metric=metric).earliest("pk").pk
            for metric in BillableMetric.objects.order_by("pk")
        ],
    }
    began = time.perf_counter()
    with connection.cursor() as cursor:
        for first in range(1, stored + 1, CHUNK):
            cursor.execute(FILL, values | {"first": first, "last": min(first + CHUNK - 1, stored)})
            print(f"\r{min(first + CHUNK - 1, stored):,} filled", end="", flush=True)
        cursor.execute("VACUUM ANALYZE metering_key")
        cursor.execute("VACUUM ANALYZE metering_event")
    print(f" in {time.perf_counter() - began:,.0f} s", flush=True)
