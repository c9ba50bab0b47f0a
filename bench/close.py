"""Closing a period: invoices a second by the production lifecycle, beside a bare COPY of the rows that it leaves."""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from bench.stack import settings_of
from config.stack.backends import running_backends

START = datetime(2026, 1, 1, tzinfo=UTC)
# So many events of a subscription and month are sent; those beyond are copies, written as the merge would have.
SENT = 3
# Copies written in one transaction.
STEP = 2_000_000
COPIES = """
INSERT INTO metering_event (public_id, organization_id, idempotency_key, event_type, source, subject_id, external_id,
                            occurred_at, accepted_at, data, metrics, dimensions, quantities, hashes)
SELECT public_id || '.' || n, organization_id, idempotency_key || '.' || n, event_type, source, subject_id,
       external_id, occurred_at + n * interval '1 second', accepted_at, data, metrics, dimensions, quantities, hashes
FROM metering_event CROSS JOIN generate_series(%(first)s::int, %(last)s::int) AS n WHERE occurred_at = %(at)s
"""
# All events of a subscription are alike and a second apart, in one hour.
COUNTED = """
UPDATE metering_window SET sum = sum / %(sent)s * %(events)s, count = %(events)s,
    moment = sum / %(sent)s * (3600 * %(events)s - %(events)s * (%(events)s - 1) / 2.0)
WHERE hour = %(at)s
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--subscriptions", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=2, help="months closed, one after another")
    parser.add_argument("--events", type=int, default=1, help="events of each subscription and month")
    parser.add_argument("--workers", type=int, default=2, help="processes that do what is due")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Subscribe customers to three metered prices, give each usage, close month after month and print the rates."""
    with tempfile.TemporaryDirectory(prefix="metergate-bench-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o711)
        with running_backends(Path(folder)):
            os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
            import django

            django.setup()
            return _measure(arguments)


def _measure(arguments: argparse.Namespace) -> dict[str, Any]:
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", interactive=False, verbosity=0)
    subscriptions = arguments.subscriptions
    merchant, clock, customers = _subscribe(subscriptions)
    connection.ensure_connection()
    settings = settings_of(connection.connection)
    given = {name: str(getattr(arguments, name)) for name in ("subscriptions", "events", "workers")}
    print(f"settings: {json.dumps(settings | given)}", flush=True)
    figures: list[dict[str, float]] = []
    for month in range(1, arguments.rounds + 1):
        end = datetime(2026, month + 1, 1, tzinfo=UTC)
        _use(merchant, customers, end - timedelta(days=10), month, arguments.events)
        crossing = _work(clock.pk, end, arguments.workers)
        calculating = _work(clock.pk, end + timedelta(hours=1), arguments.workers)
        lines, copied = _check_and_copy(month, subscriptions, arguments.events)
        elapsed = crossing.seconds + calculating.seconds
        figures.append(
            {
                "invoices_per_second": subscriptions / elapsed,
                "boundaries_per_second": subscriptions / crossing.seconds,
                "calculations_per_second": subscriptions / calculating.seconds,
                "lines_per_second": lines / elapsed,
                "worker_cpu_us_per_boundary": 1e6 * crossing.cpu / subscriptions,
                "worker_cpu_us_per_calculation": 1e6 * calculating.cpu / subscriptions,
                "worker_memory_mb": calculating.memory,
                "share_of_bare_copy": copied / elapsed,
            }
        )
        print(
            f"month {month}: " + ", ".join(f"{name} {value:,.2f}" for name, value in figures[-1].items()), flush=True
        )
    medians = {name: statistics.median(figure[name] for figure in figures) for name in figures[0]}
    print("\nmedian: " + ", ".join(f"{name} {value:,.3f}" for name, value in medians.items()))
    return {"settings": settings | given, "median": medians}


@dataclass(frozen=True, slots=True)
class Worked:
    """Wall-clock seconds, processor seconds of all workers, and the memory of the largest in MB."""

    seconds: float
    cpu: float
    memory: float


def _work(clock_id: int, as_of: datetime, workers: int) -> Worked:
    """Do everything due, in as many processes as there are workers, each as the periodic job does."""
    context = multiprocessing.get_context("spawn")
    ready, begin = context.Barrier(workers + 1), context.Event()
    told: Any = context.Queue()
    processes = [
        context.Process(target=_worker, args=(clock_id, as_of.isoformat(), ready, begin, told))
        for _ in range(workers)
    ]
    for process in processes:
        process.start()
    ready.wait(timeout=120)
    began = time.perf_counter()
    begin.set()
    answers = [told.get() for _ in processes]
    elapsed = time.perf_counter() - began
    for process in processes:
        process.join()
    return Worked(elapsed, sum(cpu for cpu, _ in answers), max(memory for _, memory in answers) / 1024)


def _largest_size() -> int:
    """Give the most memory that this process ever had, in KB; `getrusage` counts what it was started from, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def _worker(clock_id: int, as_of: str, ready: Any, begin: Any, told: Any) -> None:
    import django

    django.setup()
    from django.db import connection

    from apps.kernel.lifecycle import run_due
    from config.celery import look_less_for_cycles

    look_less_for_cycles()
    connection.ensure_connection()
    ready.wait()
    begin.wait()
    began = time.process_time()
    run_due(clock_id=clock_id, until=datetime.fromisoformat(as_of), in_simulated_time=False)
    told.put((time.process_time() - began, _largest_size()))


def _subscribe(subscriptions: int) -> tuple[Any, Any, list[str]]:
    from apps.customers.models import Customer
    from apps.customers.services.customers import create_customer
    from apps.invoicing.management.seed import seed_catalogue
    from apps.invoicing.models import Invoice
    from apps.invoicing.services.subscribing import subscribe
    from apps.organizations.models import User
    from apps.organizations.services.organizations import create_merchant, find_or_create_consumer
    from apps.subscriptions.services.clocks import create_clock
    from apps.subscriptions.services.subscriptions import SubscriptionOptions
    from bench.population import copy_subscriber

    owner = User.objects.create_user("owner@bench.test", "a long enough password", is_staff=True)
    merchant = create_merchant(name="Bench", email="billing@bench.test", owner=owner)
    plan = _metered_plan(merchant, seed_catalogue(merchant, as_of=START))
    clock = create_clock(organization_id=merchant.pk, current_time=START, name="bench")
    consumer = find_or_create_consumer(
        merchant=merchant, name="Customer 0", email="ap0@bench.test", address={"country": "FR"}
    )
    customer, _ = create_customer(merchant=merchant, consumer=consumer, as_of=START)
    subscription, _ = subscribe(
        customer=customer, plan=plan, name="Metered", started_at=START, as_of=START,
        options=SubscriptionOptions(test_clock=clock),
    )  # fmt: skip
    opened = Invoice.objects.get(subscription=subscription, sequence_number=1)
    rows = {
        "organizations_organization": consumer.pk,
        "customers_customer": customer.pk,
        "subscriptions_subscription": subscription.pk,
        "invoicing_invoice": opened.pk,
    }
    copy_subscriber(rows, subscriptions - 1)
    return merchant, clock, list(Customer.objects.order_by("pk").values_list("public_id", flat=True))


def _metered_plan(merchant: Any, catalogue: Any) -> Any:
    """Make a plan of three metered prices, each of another model."""
    from apps.catalog.models import BillableMetric
    from apps.catalog.services.plans import PlanLine, create_plan
    from apps.catalog.services.prices import create_price

    calls = BillableMetric.objects.get(organization_id=merchant.pk, name="Requests")
    tiers = [{"upTo": "1000000", "unitPrice": "0.000006"}, {"upTo": None, "unitPrice": "0.000004"}]
    prices = [
        create_price(
            organization_id=merchant.pk, metric=metric, fee=None, model=model, properties=properties,
            payment_term="in_arrears", invoice_display_name=metric.name,
        )
        for metric, model, properties in (
            (catalogue.tokens_in, "standard", {"unitPrice": "0.000002"}),
            (catalogue.tokens_out, "graduated", {"tiers": tiers}),
            (calls, "package", {"packagePrice": "0.10", "packageSize": "10"}),
        )
    ]  # fmt: skip
    return create_plan(
        product=catalogue.product, name="Metered", lines=[PlanLine(price.public_id) for price in prices], as_of=START,
        currency="USD", billing_cadence="P1M",
    )  # fmt: skip


def _quantities(number: int, events: int) -> tuple[int, int]:
    """Give the tokens in and out of each event of a customer."""
    return (1_000_000 + 7 * number) // events, (500_000 + 13 * number) // events


def _total(number: int, events: int) -> Decimal:
    """Work out a customer's bill by hand."""
    tokens_in, tokens_out = (events * each for each in _quantities(number, events))
    cents = Decimal("0.01")
    lines = (
        tokens_in * Decimal("0.000002"),
        min(tokens_out, 1_000_000) * Decimal("0.000006") + max(tokens_out - 1_000_000, 0) * Decimal("0.000004"),
        -(-events // 10) * Decimal("0.10"),
    )
    return sum((line.quantize(cents, ROUND_HALF_UP) for line in lines), Decimal(0))


def _use(merchant: Any, customers: list[str], at: datetime, month: int, events: int) -> None:
    """Give every customer's month events of one hour, a second apart."""
    from django.db import connection

    from apps.metering.services.merge import drain, vacuum_bucket
    from apps.metering.services.staging import BUCKETS, accept_events

    def made() -> Iterator[dict[str, Any]]:
        for event in range(min(events, SENT)):
            for number, customer in enumerate(customers):
                tokens_in, tokens_out = _quantities(number, events)
                yield {
                    "type": "ai.inference", "source": "bench", "subject": customer,
                    "timestamp": (at + timedelta(seconds=event)).isoformat(),
                    "idempotencyKey": f"{month}-{event}-{number}",
                    "data": {"model": "m", "input": tokens_in, "output": tokens_out},
                }  # fmt: skip

    for sent, batch in enumerate(batched(made(), 5_000)):
        accept_events(
            batch,
            organization_id=merchant.pk,
            organization_public_id=merchant.public_id,
            as_of=at,
            is_import=True,
        )
        if sent % 20 == 19:
            drain()
    drain()
    if events > SENT:
        _copy_events(at, events, len(customers))
    # As the workers that merge do.
    for bucket in range(BUCKETS):
        vacuum_bucket(bucket)
    # As when it came over the month, and not in the minutes before the close, which are looked at once more later.
    with connection.cursor() as cursor:
        cursor.execute("UPDATE metering_window SET changed_at = changed_at - interval '1 hour'")
        # What the database's own workers have long done at the end of a month.
        cursor.execute("VACUUM (ANALYZE)")
        if events > SENT:
            cursor.execute("CHECKPOINT")


def _copy_events(at: datetime, events: int, customers: int) -> None:
    from django.db import connection, transaction

    number = max(STEP // customers, 1)
    with connection.cursor() as cursor:
        for first in range(SENT, events, number):
            with transaction.atomic():
                cursor.execute(COPIES, {"at": at, "first": first, "last": min(first + number, events) - 1})
        cursor.execute(COUNTED, {"at": at, "sent": SENT, "events": events})


def batched(rows: Iterator[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    """Give rows in lists of a size."""
    while batch := list(islice(rows, size)):
        yield batch


def _check_and_copy(month: int, subscriptions: int, events: int) -> tuple[int, float]:
    """Check every total, then write the same invoices and lines once more into bare tables by COPY."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT grand_total, line_count FROM invoicing_invoice"
            " WHERE sequence_number = %s AND status IN ('ISSUED', 'PAID') ORDER BY customer_id",
            [month],
        )
        rows = cursor.fetchall()
        lines = sum(row[1] for row in rows)
        wanted = [_total(number, events) for number in range(subscriptions)]
        if [row[0] for row in rows] != wanted:
            wrong = sum(row[0] != total for row, total in zip(rows, wanted, strict=False))
            raise RuntimeError(f"{len(rows)} invoices, {wrong} of them with a wrong total; {subscriptions} expected")
        elapsed = 0.0
        for table, where in (
            ("invoicing_invoice", f"sequence_number = {month}"),
            ("invoicing_invoiceline", "invoice_id IN (SELECT id FROM invoicing_invoice"
                                      f" WHERE sequence_number = {month})"),
        ):  # fmt: skip
            with cursor.copy(f"COPY (SELECT * FROM {table} WHERE {where}) TO STDOUT") as copy:
                text = b"".join(bytes(block) for block in copy)
            cursor.execute(f"CREATE TEMPORARY TABLE bare (LIKE {table} INCLUDING ALL)")
            began = time.perf_counter()
            with cursor.copy("COPY bare FROM STDIN") as copy:
                copy.write(text)
            elapsed += time.perf_counter() - began
            cursor.execute("DROP TABLE bare")
    return lines, elapsed
